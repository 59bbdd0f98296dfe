"""The exporter's look at the services of its host: by their processes, without a word to them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from services import deployment
from services.haproxy import HAProxy
from services.monitoring.daemons import Daemons, word
from services.monitoring.hostusage import ProcessTable
from services.secrets import Secrets
from topo.plan import plan as plan_of
from topo.profile import Profile

WORDS = {"web": "nginx", "app": "gunicorn"}
#: pid -> (session, state, command line)
Processes = dict[int, tuple[int, str, str]]
NGINX: Processes = {25: (25, "S", "nginx: master process nginx -c x"), 31: (25, "S", "nginx: worker process")}
GUNICORN: Processes = {23: (23, "S", "python\0-m\0gunicorn\0x"), 46: (23, "R", "python\0-m\0gunicorn\0x")}


def seen(proc: Path, processes: Processes) -> dict[str, float]:
    for pid, (session, state, line) in processes.items():
        (proc / str(pid) / "fd").mkdir(parents=True)
        (proc / str(pid) / "stat").write_text(f"{pid} (a) name) {state} 0 {pid} {session}{' 0' * 20}\n")
        (proc / str(pid) / "cmdline").write_text(line)
        (proc / str(pid) / "statm").write_text("9 5 1 1 0 1 0\n")
    (proc / "uptime").write_text("1 1")
    table = ProcessTable(str(proc))
    table.look()
    metric = Daemons(WORDS, str(proc)).metric(table.sessions())
    return {sample.labels[0]: sample.value for sample in metric.samples}


@pytest.mark.parametrize(
    ("processes", "web", "app"),
    [
        pytest.param({**NGINX, **GUNICORN}, 1, 1, id="all run"),
        pytest.param(GUNICORN, 0, 1, id="one has died"),
        pytest.param({}, 0, 0, id="none runs"),
        pytest.param({**NGINX, 23: GUNICORN[23], 46: (23, "T", "x")}, 1, 0, id="a worker stands still"),
        pytest.param({31: NGINX[31], **GUNICORN}, 0, 1, id="a worker is left over"),
        pytest.param({7: (0, "S", "tail -f nginx.log"), **GUNICORN}, 0, 1, id="a person looks at its log"),
    ],
)
def test_what_runs(tmp_path: Path, processes: Processes, web: int, app: int) -> None:
    assert seen(tmp_path, processes) == {"web": web, "app": app}


@pytest.mark.parametrize("db", ["single", "semisync", "galera"])
def test_each_service_of_a_host_has_a_word_of_its_own(secrets: Secrets, db: str) -> None:
    profile = Profile(db=db)
    services = deployment.host_services(plan_of(profile), profile, secrets)
    for host in ("srv1", "mon", "lb", "dns"):
        words = {service.role: word(service) for service in services if service.host == host}
        assert len(set(words.values())) == len(words), words
        assert [
            (one, other) for one in words.values() for other in words.values() if one != other and one in other
        ] == []


@pytest.mark.parametrize("program", ["/home/a/run/foobar/.venv/bin/python", "/run/media/a/foobar/.venv/bin/python"])
def test_a_project_in_a_folder_called_run_changes_no_word(program: str) -> None:
    for options in (["-c", "/run/app/gunicorn.conf.py"], ["-config=/run/app/gunicorn.conf.py"]):
        service = SimpleNamespace(command=lambda: (program, "-m", "gunicorn", *options), product="gunicorn")  # noqa: B023
        assert word(cast(HAProxy, service)) == "/run/app/gunicorn.conf.py"
