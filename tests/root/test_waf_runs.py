"""The experiment waf on real testbeds: some of its attacks, with the firewall, with one that is asleep, and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runningtestbed import Experiments, Machine

pytestmark = pytest.mark.root

FEW = ("--texts", "100", "--share", "0.1", "--seed", "12", "--health", "fast")


@pytest.mark.parametrize(
    ("flags", "code"),
    [(("--waf", "on"), 0), (("--waf", "on", "--spoil", "asleep"), 1), (("--monitoring", "off"), 1)],
    ids=["on", "asleep", "off"],
)
def test_a_firewall_holds_and_one_that_sleeps_or_is_not_there_fails(
    flags: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    commands, machine = Experiments(tmp_path), Machine(tmp_path)
    done = commands("run", "waf", "--runs", str(tmp_path / "runs"), *FEW, *flags, seconds=300)
    assert done.returncode == code, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs" / "waf").iterdir()
    numbers = json.loads((folder / "result.json").read_text())["verdict"]["numbers"]
    assert (numbers["worked"] > 0, numbers["passed"] > 0) == (code == 1, code == 1)
    assert numbers["harm"] == []
    machine.assert_clean()
