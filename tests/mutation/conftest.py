"""Mutation tests of the verifier; those on real switches use root's testbeds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "root"))

from runningtestbed import Commands, Machine


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """Where an experiment's results go; nothing of it may be left on the machine afterwards."""
    commands, machine = Commands(tmp_path), Machine(tmp_path)
    yield tmp_path / "runs"
    commands("down", "--all", seconds=240)
    machine.assert_clean()
