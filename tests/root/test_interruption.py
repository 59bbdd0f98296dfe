"""Ctrl-C in the middle of each experiment: faults heal, what there is is saved, nothing is left."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import Commands, Experiments, Machine

from experiments.catalog import EXPERIMENTS
from topo import wait

pytestmark = pytest.mark.root

SECONDS = 90
# what an experiment must be given to have something to do; the seed's design is enough for the others
OFF = ("--monitoring", "off")
FLAGS: dict[str, tuple[str, ...]] = {"monitoring": ()}


@pytest.mark.parametrize("name", [each.name for each in EXPERIMENTS])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "down"])
def test_an_interrupted_run_heals_and_keeps_what_it_has(name: str, number: signal.Signals, tmp_path: Path) -> None:
    commands, machine = Experiments(tmp_path), Machine(tmp_path)
    with commands.popen("run", name, "--runs", str(tmp_path / "runs"), *FLAGS.get(name, OFF)) as process:
        wait_for_first_phase(process, name)
        process.send_signal(number)
        code = process.wait(SECONDS)
        said = process.communicate()
    assert code == 130, said
    (folder,) = (tmp_path / "runs" / name).iterdir()
    result, evidence = (read(folder / each) for each in ("result.json", "evidence.json"))
    assert (result["status"], result["verdict"]["holds"]) == ("aborted", None), said
    assert result["verdict"]["because"] == "aborted: interrupted"
    assert evidence["timeline"][0]["what"] == "phase"
    assert unhealed(evidence["timeline"]) == Counter()
    assert (folder / "report.html").stat().st_size > 1000
    assert (folder / "logs" / "lb-balancer-haproxy.log").exists()
    machine.assert_clean()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("db_failover --faults freeze --window 60", "freeze srv1 db"),
        ("web_failover --faults cut --rate 40", "cut srv"),
    ],
)
def test_ctrl_c_while_a_fault_is_in_force_heals_it(words: str, fault: str, tmp_path: Path) -> None:
    commands = Experiments(tmp_path)
    name, *flags = words.split()
    with commands.popen("run", name, "--runs", str(tmp_path / "runs"), *flags) as process:
        wait.until(lambda: in_force(tmp_path, fault), what="a fault in force", seconds=60)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, said
    (folder,) = (tmp_path / "runs" / name).iterdir()
    assert read(folder / "result.json")["status"] == "aborted"
    timeline = read(folder / "evidence.json")["timeline"]
    assert any(each["what"] == "fault in force" and each["fault"].startswith(fault) for each in timeline)
    assert unhealed(timeline) == Counter()


def in_force(home: Path, fault: str) -> str | None:
    """None once the testbed says that it is broken on purpose."""
    said = Commands(home)("fault", "list").stdout
    return None if fault in said else said or "no testbed yet"


def wait_for_first_phase(process: subprocess.Popen[str], name: str) -> None:
    """Return when the experiment's own first phase has begun, which its line on standard error says."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if f"foobar: measuring {name}\n" in said[:-1]:
            return
    raise AssertionError(f"the run ended before its first phase: {''.join(said)}")


def unhealed(timeline: list[dict[str, Any]]) -> Counter[str]:
    """How often each fault was injected and not healed."""
    injected = Counter(each["fault"] for each in timeline if each["what"] == "fault")
    return injected - Counter(each["fault"] for each in timeline if each["what"] == "healed")


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value
