"""Wrong rules and flows on real switches: both oracles notice each, and the right ones are back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runningtestbed import PROJECT, Commands

pytestmark = pytest.mark.root


@pytest.mark.parametrize("flags", [(), ("--db", "semisync")], ids=["seed", "semisync"])
def test_every_wrong_flow_is_noticed(runs: Path, flags: tuple[str, ...]) -> None:
    words = ("--runs", str(runs), "--seed", "3", "--mutants", "12", *flags)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.firewall_mutants", *words],
        cwd=PROJECT,
        env=Commands(runs.parent).environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (runs / "firewall_mutants").iterdir()
    numbers = json.loads((folder / "result.json").read_text())["verdict"]["numbers"]
    assert (numbers["mutants"], numbers["surviving"], numbers["not_known"]) == (12, 0, 0)
    assert numbers["caught"] >= 6
    assert numbers["frames_sent"] > 12 * numbers["probes_per_mutant"]
    rows = json.loads((folder / "mutants.json").read_text())
    assert all(row["installed"] and row["restored"] for row in rows)
    assert all(row["seen"] for row in rows if row["proof"] == "caught")
