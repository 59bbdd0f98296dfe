"""The supervisor, with local processes in the place of daemons: checks first, then start, ready, stop, kill, pause."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import FakePlace, FakeService, python

from services.service import File, Look
from services.supervisor import Supervisor
from services.unit import NICENESS, Unit
from topo import wait
from topo.errors import DeadlineError, RefusedError, ServiceError, UsageError

SLEEP = ("sleep", "60")


@dataclass
class Supervised:
    """A supervisor, its one place and the phases that it told of."""

    place: FakePlace
    supervisor: Supervisor
    told: list[tuple[str, str]] = field(default_factory=list)

    def add(self, *services: FakeService) -> list[str]:
        for service in services:
            self.supervisor.add(service, self.place)
        return [service.id for service in services]

    def run(self, service: FakeService) -> str:
        (service_id,) = self.add(service)
        self.supervisor.launch(service_id)
        return service_id

    def pid(self, service_id: str) -> int:
        process = self.supervisor.unit(service_id).process
        assert process is not None
        return int(process.pid)

    def state(self, service_id: str) -> str:
        return self.supervisor.unit(service_id).state


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    told: list[tuple[str, str]] = []
    supervised = Supervised(FakePlace(tmp_path), Supervisor(lambda what, phase, _: told.append((what, phase))), told)
    yield supervised
    supervised.supervisor.stop_all()


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until_state(supervised: Supervised, service_id: str, state: str) -> None:
    wait.until(
        lambda: None if supervised.state(service_id) == state else supervised.state(service_id), what=state, seconds=5
    )


# --- configure ----------------------------------------------------------------------------------------------------


def test_files_are_written_with_their_modes(supervised: Supervised) -> None:
    files = (File("/run/a/secret.conf", "hush", 0o600), File("/run/a/plain.conf", "hello"))
    service = FakeService("a", files=files)
    supervised.add(service)
    supervised.supervisor.configure([service])
    secret, plain = (supervised.place.path(file.path) for file in files)
    assert (secret.read_text(), plain.read_text()) == ("hush", "hello")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert supervised.state("srv1/a") == "configured"


def test_a_refused_configuration_starts_nothing_at_all(supervised: Supervised) -> None:
    """All checks pass before anything starts; the error carries what the daemon itself said."""
    good = FakeService("good", check=("true",))
    bad = FakeService("bad", check=("sh", "-c", "echo line 3: unknown keyword; echo so there >&2; exit 1"))
    supervised.add(good, bad)
    with pytest.raises(ServiceError, match=r"^srv1/bad: sh refuses its configuration$") as caught:
        supervised.supervisor.configure([good, bad])
    assert caught.value.detail == "line 3: unknown keyword\nso there"
    assert supervised.place.started == []
    assert [supervised.state(each) for each in ("srv1/good", "srv1/bad")] == ["new", "new"]


def test_a_check_runs_after_all_files_are_written(supervised: Supervised) -> None:
    needs_other = FakeService("a", check=("test", "-e", str(supervised.place.path("/run/b.conf"))))
    other = FakeService("b", files=(File("/run/b.conf", ""),))
    supervised.add(needs_other, other)
    supervised.supervisor.configure([needs_other, other])


def test_equal_configurations_are_checked_once(supervised: Supervised) -> None:
    services = [FakeService("web", check=("true", "same"), host=f"srv{n}") for n in (1, 2, 3)]
    services.append(FakeService("web", check=("true", "other"), host="srv4"))
    supervised.add(*services)
    supervised.supervisor.configure(services)
    assert sorted(supervised.place.checked) == [("true", "other"), ("true", "same")]


def test_a_missing_daemon_is_named(supervised: Supervised) -> None:
    service = FakeService("a", check=("/nonexistent/daemon", "-t"))
    supervised.add(service)
    with pytest.raises(ServiceError, match=r"^srv1/a: /nonexistent/daemon is not installed$"):
        supervised.supervisor.configure([service])


def test_what_needs_preparing_is_prepared_before_it_starts(supervised: Supervised) -> None:
    class Prepared(FakeService):
        def prepare(self, look: Look) -> None:
            look.path("/run").mkdir(exist_ok=True)
            look.path("/run/prepared").touch()

    service = Prepared("a")
    supervised.add(service)
    supervised.supervisor.configure([service])
    assert supervised.place.path("/run/prepared").exists()


# --- start and ready ----------------------------------------------------------------------------------------------


def test_phases_are_told_in_order(supervised: Supervised) -> None:
    service = FakeService("a")
    supervised.add(service)
    supervised.supervisor.configure([service])
    supervised.supervisor.launch("srv1/a")
    assert supervised.told == [("srv1/a", phase) for phase in ("configured", "started", "ready")]
    (row,) = supervised.supervisor.status()
    assert list(row["times"]) == ["configured", "started", "ready"]
    assert list(row["times"].values()) == sorted(row["times"].values())
    assert (row["id"], row["host"], row["role"], row["state"], row["restarts"]) == ("srv1/a", "srv1", "a", "ready", 0)
    assert row["pid"] == supervised.pid("srv1/a")


def test_it_is_ready_only_once_it_serves(supervised: Supervised) -> None:
    touch = python(
        "import pathlib, time; pathlib.Path('run').mkdir(); pathlib.Path('run/a.ready').touch(); time.sleep(60)"
    )
    supervised.add(FakeService("a", touch, waits=True))
    supervised.supervisor.start("srv1/a")
    assert supervised.state("srv1/a") == "started"
    supervised.supervisor.wait_ready("srv1/a")
    assert supervised.state("srv1/a") == "ready"


def test_a_daemon_that_dies_at_boot_shows_the_tail_of_its_log(supervised: Supervised) -> None:
    dying = python(
        "import sys; [print('line', n, flush=True) for n in range(40)];"
        "print('no such user', file=sys.stderr); sys.exit(7)"
    )
    supervised.add(FakeService("a", dying, waits=True))
    with pytest.raises(ServiceError, match=r"^srv1/a died while starting \(exit status 7\)$") as caught:
        supervised.supervisor.launch("srv1/a")
    lines = caught.value.detail.splitlines()
    assert lines[0] == "--- srv1:/var/log/a.log"
    assert "no such user" in lines
    assert "line 39" in lines
    assert "line 0" not in lines
    assert len(lines) == 16
    assert supervised.state("srv1/a") == "died"


def test_a_daemon_ended_by_a_signal_names_it(supervised: Supervised) -> None:
    supervised.add(FakeService("a", ("sh", "-c", "kill -SEGV $$"), waits=True))
    with pytest.raises(ServiceError, match=r"died while starting \(signal SIGSEGV\)"):
        supervised.supervisor.launch("srv1/a")


def test_a_daemon_that_never_serves_is_given_up(supervised: Supervised) -> None:
    service = FakeService("a", ("sh", "-c", "echo waiting for something; exec sleep 60"), waits=True)
    service.patience = 0.3
    supervised.add(service)
    with pytest.raises(ServiceError, match=r"srv1/a ready: not within 0.3 s; last seen: no sign of it") as caught:
        supervised.supervisor.launch("srv1/a")
    assert "waiting for something" in caught.value.detail
    assert supervised.state("srv1/a") == "started"


def test_every_log_is_shown_under_its_name_and_missing_ones_are_not(supervised: Supervised) -> None:
    class TwoLogs(FakeService):
        @property
        def logs(self) -> tuple[str, ...]:
            return ("/var/log/a/error.log", "/var/log/a/none.log", self.output)

    supervised.run(TwoLogs("a", ("sh", "-c", "echo out; exec sleep 60")))
    unit = supervised.supervisor.unit("srv1/a")
    error = supervised.place.path("/var/log/a/error.log")
    supervised.place.path("/var/log/a/none.log").unlink()
    error.write_bytes(b"bad \xff bytes\n")
    wait.until(lambda: None if "out" in unit.tail() else "nothing", what="output", seconds=5)
    assert unit.tail() == "--- srv1:/var/log/a/error.log\nbad \ufffd bytes\n--- srv1:/var/log/a.log\nout"


@pytest.mark.parametrize("planted", ["log", "folder"])
def test_root_of_a_host_cannot_have_the_machines_files_written_or_shown(
    supervised: Supervised, tmp_path: Path, planted: str
) -> None:
    """The box starts daemons and opens their logs with all rights on the machine, in folders that hosts write to."""
    outside = tmp_path / "outside"
    (outside / "a").mkdir(parents=True)
    (outside / "a" / "out.log").write_text("the machine's\n")

    class Deep(FakeService):
        output = "/var/log/a/out.log"
        logs = (output,)

    supervised.run(Deep("a", ("sh", "-c", "echo mine; exec sleep 60")))
    wait.until(lambda: None if "mine" in supervised.supervisor.unit("srv1/a").tail() else "", what="output", seconds=5)
    supervised.supervisor.kill("srv1/a")
    folder = supervised.place.path("/var/log/a")
    shutil.rmtree(folder)
    if planted == "folder":
        folder.symlink_to(outside / "a")
    else:
        folder.mkdir()
        (folder / "out.log").symlink_to(outside / "a" / "out.log")
    assert supervised.supervisor.unit("srv1/a").tail() == ""
    with pytest.raises(UsageError, match="a symbolic link, which is not followed here"):
        supervised.supervisor.start("srv1/a")
    assert (outside / "a" / "out.log").read_text() == "the machine's\n"


def test_starting_twice_is_refused(supervised: Supervised) -> None:
    supervised.run(FakeService("a"))
    with pytest.raises(RefusedError, match=rf"srv1/a is running already \(pid {supervised.pid('srv1/a')}\)"):
        supervised.supervisor.start("srv1/a")
    assert supervised.place.started == [SLEEP]


def test_an_unknown_service_is_refused_with_the_known_ones(supervised: Supervised) -> None:
    supervised.add(FakeService("a"), FakeService("b"))
    with pytest.raises(UsageError, match="srv1/c: no such service; services: srv1/a, srv1/b"):
        supervised.supervisor.unit("srv1/c")


# --- stop, kill, pause, restart -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asks", ["TERM", "QUIT"])
def test_stop_asks_first(supervised: Supervised, asks: str) -> None:
    polite = f"trap 'echo bye; exit 0' {asks}; echo > run.ready; while :; do sleep 0.01; done"
    service = FakeService("a", ("sh", "-c", polite))
    service.stop_signal = signal.Signals[f"SIG{asks}"]
    supervised.run(service)
    wait.until(lambda: None if supervised.place.path("run.ready").exists() else "not yet", what="its trap", seconds=5)
    supervised.supervisor.stop("srv1/a")
    assert supervised.state("srv1/a") == "stopped"
    assert supervised.place.path("/var/log/a.log").read_text() == "bye\n"


def test_stop_insists_when_asking_does_not_help(supervised: Supervised) -> None:
    deaf = "trap '' TERM; echo > run.ready; while :; do sleep 0.01; done"
    supervised.run(FakeService("a", ("sh", "-c", deaf)))
    wait.until(lambda: None if supervised.place.path("run.ready").exists() else "not yet", what="its trap", seconds=5)
    supervised.supervisor.stop("srv1/a", seconds=0.1)
    process = supervised.supervisor.unit("srv1/a").process
    assert process is not None
    assert process.returncode == -signal.SIGKILL
    assert supervised.state("srv1/a") == "stopped"


def test_stop_ends_a_paused_one_too(supervised: Supervised) -> None:
    supervised.run(FakeService("a"))
    supervised.supervisor.pause("srv1/a")
    supervised.supervisor.stop("srv1/a", seconds=0.1)
    assert supervised.state("srv1/a") == "stopped"


def test_kill_takes_the_workers_with_it(supervised: Supervised) -> None:
    supervised.run(FakeService("a", ("sh", "-c", "sleep 61 & echo $! > worker; exec sleep 62")))
    worker = supervised.place.path("worker")
    wait.until(lambda: None if worker.exists() and worker.read_text().strip() else "none", what="worker", seconds=5)
    pid = int(worker.read_text())
    assert process_state(pid) in "RS"
    supervised.supervisor.kill("srv1/a")
    assert _gone(pid)
    assert supervised.state("srv1/a") == "killed"


def _gone(pid: int) -> bool:
    try:
        return process_state(pid) == "Z"
    except FileNotFoundError:
        return True


def test_pause_freezes_and_resume_thaws(supervised: Supervised) -> None:
    supervised.run(FakeService("a"))
    supervised.supervisor.pause("srv1/a")
    wait.until(lambda: None if process_state(supervised.pid("srv1/a")) == "T" else "running", what="frozen", seconds=5)
    assert supervised.state("srv1/a") == "paused"
    supervised.supervisor.resume("srv1/a")
    wait.until(lambda: None if process_state(supervised.pid("srv1/a")) == "S" else "frozen", what="thawed", seconds=5)
    assert supervised.state("srv1/a") == "ready"


@pytest.mark.parametrize("verb", ["stop", "kill", "pause", "resume"])
def test_what_does_not_run_cannot_be_stopped(supervised: Supervised, verb: str) -> None:
    supervised.add(FakeService("a"))
    with pytest.raises(RefusedError, match="srv1/a is not running"):
        getattr(supervised.supervisor, verb)("srv1/a")


def test_it_can_start_again_and_is_not_ready_from_before(supervised: Supervised) -> None:
    service_id = supervised.run(FakeService("a"))
    first = supervised.pid(service_id)
    supervised.supervisor.kill(service_id)
    supervised.supervisor.start(service_id)
    assert supervised.state(service_id) == "started"
    supervised.supervisor.wait_ready(service_id)
    assert supervised.pid(service_id) != first


class Restarting(FakeService):
    restarts = True


def test_what_ends_unasked_and_is_to_come_back_comes_back(supervised: Supervised) -> None:
    supervised.run(Restarting("a"))
    supervised.run(FakeService("b"))
    pids = {name: supervised.pid(name) for name in ("srv1/a", "srv1/b")}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for name in pids:
        until_state(supervised, name, "died")
    supervised.supervisor.revive()
    supervised.supervisor.revive()
    assert supervised.state("srv1/a") == "ready"
    assert supervised.pid("srv1/a") != pids["srv1/a"]
    assert supervised.supervisor.unit("srv1/a").restarts == 1
    assert supervised.state("srv1/b") == "died"


def test_what_comes_back_is_not_called_ready_before_it_serves(supervised: Supervised) -> None:
    service = Restarting("a", waits=True)
    sign = supervised.place.path("/run/a.ready")
    sign.parent.mkdir()
    sign.touch()
    supervised.run(service)
    sign.unlink()
    os.kill(supervised.pid("srv1/a"), signal.SIGKILL)
    until_state(supervised, "srv1/a", "died")
    supervised.supervisor.revive()
    assert supervised.state("srv1/a") == "started"
    sign.touch()
    supervised.supervisor.revive()
    assert supervised.state("srv1/a") == "ready"


def test_what_cannot_come_back_is_tried_with_a_pause(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would take a processor, as what finds no room on its disk."""
    supervised.run(Restarting("a", ("sh", "-c", "test -e broken && exit 1; exec sleep 60")))
    broken = supervised.place.path("broken")
    broken.touch()
    os.kill(supervised.pid("srv1/a"), signal.SIGKILL)
    for _ in range(3):
        until_state(supervised, "srv1/a", "died")
        supervised.supervisor.revive()
        assert supervised.supervisor.unit("srv1/a").restarts == 1
    broken.unlink()
    monkeypatch.setattr("services.supervisor.PAUSE_S", 0.0)
    supervised.supervisor.revive()
    assert supervised.supervisor.unit("srv1/a").restarts == 2
    assert supervised.state("srv1/a") in ("started", "ready")


def test_what_dies_before_it_ever_served_does_not_come_back(supervised: Supervised) -> None:
    supervised.add(Restarting("a", ("false",), waits=True))
    with pytest.raises(ServiceError, match="died while starting"):
        supervised.supervisor.launch("srv1/a")
    supervised.supervisor.revive()
    assert supervised.state("srv1/a") == "died"


def test_a_death_after_it_served_is_told_with_the_log(supervised: Supervised) -> None:
    supervised.run(FakeService("a", ("sh", "-c", "echo last words; exec sleep 60")))
    supervised.run(FakeService("stopped"))
    supervised.supervisor.stop("srv1/stopped")
    supervised.supervisor.check_alive()
    wait.until(lambda: None if supervised.supervisor.unit("srv1/a").tail() else "empty", what="its log", seconds=5)
    os.kill(supervised.pid("srv1/a"), signal.SIGTERM)
    until_state(supervised, "srv1/a", "died")
    with pytest.raises(ServiceError, match=r"^srv1/a died \(signal SIGTERM\)$") as caught:
        supervised.supervisor.check_alive()
    assert "last words" in caught.value.detail


@pytest.mark.parametrize(("verb", "state"), [("stop", "stopped"), ("kill", "killed")])
def test_what_was_ended_on_purpose_does_not_come_back(supervised: Supervised, verb: str, state: str) -> None:
    supervised.run(Restarting("a"))
    getattr(supervised.supervisor, verb)("srv1/a")
    supervised.supervisor.revive()
    assert supervised.state("srv1/a") == state
    assert len(supervised.place.started) == 1


def test_stop_all_ends_the_last_started_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    really = Unit.end

    def recorded(unit: Unit) -> None:
        if unit.runs:
            ended.append(unit.service.role)
        really(unit)

    monkeypatch.setattr(Unit, "end", recorded)
    supervisor = Supervisor()
    for name in ("a", "b", "c"):
        supervisor.add(FakeService(name), FakePlace(tmp_path))
    for name in ("a", "b"):
        supervisor.launch(f"srv1/{name}")
    supervisor.stop_all()
    assert ended == ["b", "a"]
    assert [unit.state for unit in supervisor.units] == ["stopped", "stopped", "new"]


def test_boot_waits_side_by_side_not_one_after_the_other(supervised: Supervised) -> None:
    """Starting does not wait: readiness of many is awaited together. These would never be ready."""
    names = supervised.add(*(FakeService(f"s{n}", waits=True) for n in range(5)))
    for name in names:
        supervised.supervisor.start(name)
    assert {supervised.state(name) for name in names} == {"started"}


def test_a_check_that_hangs_is_an_error_with_the_services_name(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        raise DeadlineError("daemon -t: not within 60 s")

    monkeypatch.setattr(supervised.place, "run", hang)
    service = FakeService("a", check=("daemon", "-t"))
    supervised.add(service)
    with pytest.raises(ServiceError, match=r"^srv1/a: checking its configuration: daemon -t: not within 60 s$"):
        supervised.supervisor.configure([service])


def test_what_works_in_the_background_comes_after_the_others(tmp_path: Path) -> None:
    for background in (False, True):
        service = FakeService("web", python("import time; time.sleep(60)"))
        service.background = background
        supervisor = Supervisor()
        supervisor.add(service, FakePlace(tmp_path))
        supervisor.start("srv1/web")
        process = supervisor.unit("srv1/web").process
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == (NICENESS if background else 0)
        supervisor.stop_all()
