"""A dead web server, on real testbeds: with HAProxy's defaults visitors notice, with fast checks nobody does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands

pytestmark = [pytest.mark.root, pytest.mark.alone]


def run(runs: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and result.json; a quiet load, so that no machine is too slow for it."""
    argv = [
        sys.executable,
        "-m",
        "experiments.web_failover",
        "--runs",
        str(runs),
        "--rate",
        "40",
        "--monitoring",
        "off",
        *words,
    ]
    environment = Commands(runs.parent).environment
    done = subprocess.run(argv, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=180)
    (folder,) = (runs / "web_failover").iterdir()
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert result["status"] == "completed", done.stdout + done.stderr
    judged = [sys.executable, "-m", "experiments", "judge", str(folder)]
    again = subprocess.run(judged, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
    assert again.returncode == done.returncode, again.stdout + again.stderr
    return done.returncode, result


def test_with_the_defaults_a_silent_death_costs_requests(runs: Path) -> None:
    code, result = run(runs, "--faults", "freeze-app,cut")
    numbers = result["verdict"]["numbers"]
    assert code == 1
    assert numbers["failed"] > 0
    assert numbers["failed_by_fault"]["freeze-app"] > 0
    assert numbers["executed_twice"] == 0


def test_with_fast_checks_nobody_notices(runs: Path) -> None:
    code, result = run(runs, "--health", "fast", "--faults", "freeze-app,cut,kill-nginx,error500")
    numbers = result["verdict"]["numbers"]
    assert code == 0, result["verdict"]["because"]
    assert (numbers["faults"], numbers["failed"], numbers["executed_twice"], numbers["undetected"]) == (4, 0, 0, 0)
    assert numbers["posts"] > 0
    assert numbers["share"]["before"] > 0 == numbers["share"]["during"]
    assert len(numbers["rejoin_ms"]) == 4
