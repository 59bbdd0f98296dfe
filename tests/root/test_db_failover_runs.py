"""A dead primary, on real testbeds: without a remedy writes do not come back; with one nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands

from testbed.faults.scenarios import DATABASE

pytestmark = [pytest.mark.root, pytest.mark.alone]


def argv(runs: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "experiments.db_failover", "--runs", str(runs), "--monitoring", "off", *words]


def run(runs: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and result.json."""
    environment = Commands(runs.parent).environment
    done = subprocess.run(argv(runs, *words), cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=150)
    (folder,) = (runs / "db_failover").iterdir()
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert result["status"] == "completed", done.stdout + done.stderr
    return done.returncode, result


def test_a_single_primary_is_not_replaced(runs: Path) -> None:
    code, result = run(runs, "--faults", "crash", "--window", "2")
    assert code == 1
    assert "writes did not come back within 2 s" in result["verdict"]["because"]
    assert (result["verdict"]["numbers"]["lost"], result["verdict"]["numbers"]["not_back"]) == (0, 1)


def test_semisync_loses_nothing_and_comes_back(runs: Path) -> None:
    """Whatever happens to it: each fault scenario once."""
    code, result = run(runs, "--db", "semisync")
    numbers = result["verdict"]["numbers"]
    assert code == 0, result["verdict"]
    assert (numbers["lost"], numbers["duplicated"], numbers["not_back"]) == (0, 0, 0)
    assert numbers["faults"] == len(DATABASE)
    assert numbers["acknowledged"] > 100


def test_async_loses_what_no_replica_has_heard(runs: Path) -> None:
    code, result = run(runs, "--db", "async", "--faults", "severed")
    assert code == 1
    assert result["verdict"]["numbers"]["lost"] > 0


def test_galera_is_measured_the_same_way(runs: Path) -> None:
    """Whatever the verdict is: it is one."""
    code, result = run(runs, "--db", "galera", "--faults", "crash,freeze")
    assert (code, result["verdict"]["holds"]) in ((0, True), (1, False)), result["verdict"]
    assert result["verdict"]["numbers"]["faults"] == 2
    assert result["verdict"]["numbers"]["acknowledged"] > 100
    assert result["steady"] == {"before": True, "after": True}
