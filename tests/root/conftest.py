"""The testbeds that root's tests share where they can; all are ended whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from runningtestbed import Commands, Machine, RunningTestbed


@pytest.fixture(scope="session")
def shared_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("shared"))
    yield commands
    commands("down", "--all", seconds=240)


@pytest.fixture(scope="session")
def bed(shared_commands: Commands) -> RunningTestbed:
    """The testbed that the tests share which leave it as it was."""
    return shared_commands.up("a", "--monitoring", "on")


@pytest.fixture(scope="session")
def second_booted(shared_commands: Commands, bed: RunningTestbed) -> RunningTestbed:
    """Another one beside it: tests ask for ``second``."""
    return shared_commands.up("b", "--monitoring", "on")


@pytest.fixture(scope="module")
def second(second_booted: RunningTestbed) -> Iterator[RunningTestbed]:
    """One for tests that break something. A file that does not leave it steady fails, and not the file after it."""
    yield second_booted
    second_booted.becomes_steady()


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """The command line for testbeds of one test."""
    commands = Commands(tmp_path)
    yield commands
    commands("down", "--all", seconds=240)


@pytest.fixture
def machine(commands: Commands) -> Machine:
    return Machine(commands.state)


@pytest.fixture
def runs(commands: Commands, machine: Machine) -> Iterator[Path]:
    """Where an experiment's results go; nothing of it may be left on the machine afterwards."""
    yield commands.state / "runs"
    commands("down", "--all", seconds=240)
    machine.assert_clean()
