"""A run that a person disturbs is unknown, and says by what; one that a person only looked at is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_disturbed import ROUNDS
from runningtestbed import PROJECT, Commands, RunningTestbed

from topo import wait

pytestmark = pytest.mark.root


def fault(bed: RunningTestbed) -> None:
    bed.fault("kill srv3 web")
    assert bed.commands("heal", "--name", bed.name).returncode == 0


def read(bed: RunningTestbed) -> None:
    bed.run("srv1", "sh", "-c", "ps aux; cat /etc/hosts; ss -tn")
    status = bed.status()
    assert status["problems"] == ["experiment: patient is measured: nothing was tried that it could see"]
    assert bed.commands("verify", "--name", bed.name).returncode == 0


def refused(bed: RunningTestbed) -> None:
    assert bed.commands("fault", "--name", bed.name, "kill", "srv9", "web").returncode == 64
    assert bed.commands("heal", "--name", bed.name).returncode == 0


def blocked(bed: RunningTestbed) -> None:
    assert bed.commands("blocks", "--name", bed.name).stdout == "no host is blocked\n"


def policy(bed: RunningTestbed) -> None:
    file = bed.commands.state / "my.policy"
    file.write_text(bed.commands("policy", "show", "--name", bed.name, "--file").stdout)
    done = bed.commands("policy", "apply", "--name", bed.name, str(file))
    assert done.returncode == 0, done.stderr


def block(bed: RunningTestbed) -> None:
    """By a detector, say: no request of the testbed's own."""
    words = "from controllers import northbound; northbound.ask('block', host='attacker', reason='scan', lasting=2)"
    bed.run("mon", "env", f"PYTHONPATH={PROJECT}", "python3", "-c", words)
    bed.run("box", "sleep", "1")


def link(bed: RunningTestbed) -> None:
    bed.run("box", "ip", "link", "set", "fw3-eth2", "down")
    wait.until(lambda: None if not bed.connects("lb", "srv3", 80) else "it is up", what="a dead link", seconds=5)
    bed.run("box", "sleep", "1")
    bed.run("box", "ip", "link", "set", "fw3-eth2", "up")


def halt(bed: RunningTestbed) -> None:
    bed.run("srv2", "sh", "-c", "pkill -STOP nginx; sleep 1; pkill -CONT nginx")


def kill(bed: RunningTestbed) -> None:
    bed.run("srv2", "pkill", "nginx")


#: what a person does during each round -> the words that the verdict has for it; none where it stays what it was
DONE: dict[str, tuple[Callable[[RunningTestbed], None], str]] = {
    "nothing": (lambda _: None, ""),
    "read": (read, ""),
    "refused": (refused, ""),
    "blocked": (blocked, ""),
    "policy": (policy, "apply {state}/my.policy (another terminal)"),
    "fault": (fault, "fault kill srv3 web (another terminal); heal (another terminal)"),
    "block": (block, "attacker is blocked: scan (by hand)"),
    "link": (link, "link fw3 - srv3 is down (by hand)"),
    "halt": (halt, "srv2/web stands still (by hand)"),
    "kill": (kill, "srv2/web ended ("),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("patient")
    commands = Commands(folder)
    argv = [sys.executable, str(PROJECT / "tests" / "root" / "run_disturbed.py"), str(folder)]
    environment = {**commands.environment, "PYTHONPATH": str(PROJECT)}
    log = (folder / "log").open("w+")
    with (
        log,
        subprocess.Popen(
            argv, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield {name: _round(RunningTestbed(commands, "patient"), folder, name, process) for name in ROUNDS}
            assert process.wait(60) == 0, Path(log.name).read_text()
        finally:
            process.terminate()


def _round(bed: RunningTestbed, folder: Path, name: str, process: Any) -> Any:
    def missing(file: str) -> str | None:
        assert process.poll() is None or file.endswith(".json"), (folder / "log").read_text()
        return None if (folder / file).exists() else f"no {file}"

    wait.until(lambda: missing("measuring"), what="measuring", seconds=60)
    (folder / "measuring").unlink()
    DONE[name][0](bed)
    (folder / "go-on").touch()
    wait.until(lambda: missing(f"{name}.json"), what="the result", seconds=60)
    return {**json.loads((folder / f"{name}.json").read_text()), "state": os.fspath(folder)}


@pytest.mark.parametrize("name", ROUNDS)
def test_what_a_person_does_meanwhile_makes_it_unknown_and_looking_does_not(results: dict[str, Any], name: str) -> None:
    result, words = results[name], DONE[name][1].format(state=results[name]["state"])
    assert result["steady"]["before"]["holds"]
    if not words:
        assert (result["verdict"]["holds"], result["disturbances"]) == (False, []), "the negative control: it fails"
        return
    assert result["verdict"]["holds"] is None
    assert f"disturbed while it was measured: {words}" in result["verdict"]["because"]


def test_who_was_blocked_before_a_run_is_not_meanwhile_and_is_again_afterwards(results: dict[str, Any]) -> None:
    assert {name: result["blocked"] for name, result in results.items() if result["blocked"]} == {
        "blocked": ["attacker"]
    }
