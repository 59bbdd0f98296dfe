"""Members of a group, started again: one joins the group that is there; when it is gone, all start together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakePlace, FakeService

from services.service import Gathers, Look
from services.supervisor import Supervisor
from services.unit import WAITING
from testbed import groups

IDS = ["srv1/db", "srv2/db", "srv3/db"]


class Member(FakeService):
    """In a group as long as ``alone`` is not said of it."""

    alone = False
    told = 0

    def gathered(self, look: Look) -> bool:
        return not self.alone

    def gather(self, look: Look) -> None:
        self.told += 1


class Group:
    """Three members that serve, and somebody else."""

    def __init__(self, root: Path) -> None:
        self.supervisor = Supervisor()
        self.members = [Member("db", host=each.partition("/")[0]) for each in IDS]
        for each in (*self.members, FakeService("db-like")):
            self.supervisor.add(each, FakePlace(root))
            self.supervisor.launch(each.id)

    def start_again(self, service_id: str) -> None:
        groups.start_again(self.supervisor, self.supervisor.unit(service_id))

    @property
    def states(self) -> list[str]:
        return [self.supervisor.unit(each).state for each in IDS]

    @property
    def pids(self) -> list[int | None]:
        return [unit.process.pid if unit.process else None for unit in self.supervisor.units]

    @property
    def told(self) -> list[int]:
        return [each.told for each in self.members]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setattr(groups, "GATHERING_SECONDS", 0.05)
    group = Group(tmp_path)
    yield group
    group.supervisor.stop_all()


def test_a_member_is_one() -> None:
    assert isinstance(Member("db"), Gathers)
    assert not isinstance(FakeService("db"), Gathers)


def test_one_joins_the_group_that_is_there(group: Group) -> None:
    group.supervisor.kill("srv2/db")
    before = group.pids
    group.start_again("srv2/db")
    assert group.states == ["ready"] * 3
    assert group.told == [0, 0, 0]
    assert [now for now in group.pids if now not in before] == [group.pids[1]]


def test_the_last_of_a_group_that_is_left_is_one(group: Group) -> None:
    """Stopped in order, the others have left it the group: it is no minority."""
    group.supervisor.kill("srv1/db", "srv2/db")
    group.start_again("srv2/db")
    assert group.states == ["killed", "ready", "ready"]


def test_when_all_have_failed_they_wait_and_start_together(group: Group) -> None:
    group.supervisor.kill(*IDS)
    group.start_again("srv3/db")
    group.start_again("srv1/db")
    assert group.states == [WAITING, "killed", WAITING]
    group.start_again("srv2/db")
    assert group.states == ["ready"] * 3
    assert group.told == [1, 1, 1]


def test_one_that_is_left_without_a_group_starts_again_with_the_others(group: Group) -> None:
    group.supervisor.kill("srv1/db", "srv2/db")
    group.members[2].alone = True
    before = group.pids
    group.start_again("srv2/db")
    assert group.states == ["killed", WAITING, "ready"]
    group.start_again("srv1/db")
    assert group.states == ["ready"] * 3
    assert set(group.pids) & set(before) == {before[3]}, "somebody else's process is the same"


def test_a_frozen_one_is_not_asked_and_not_ended(group: Group) -> None:
    group.supervisor.kill("srv1/db", "srv2/db")
    group.supervisor.pause("srv3/db")
    for each in ("srv1/db", "srv2/db"):
        group.start_again(each)
    assert group.states == [WAITING, WAITING, "paused"]


def test_what_runs_is_left_alone(group: Group) -> None:
    before = group.pids
    group.start_again("srv1/db")
    assert group.pids == before
