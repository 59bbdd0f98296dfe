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


class Bench:
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
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(groups, "GATHERING_SECONDS", 0.05)
    bench = Bench(tmp_path)
    yield bench
    bench.supervisor.stop_all()


def test_a_member_is_one() -> None:
    assert isinstance(Member("db"), Gathers)
    assert not isinstance(FakeService("db"), Gathers)


def test_one_joins_the_group_that_is_there(bench: Bench) -> None:
    bench.supervisor.kill("srv2/db")
    before = bench.pids
    bench.start_again("srv2/db")
    assert bench.states == ["ready"] * 3
    assert bench.told == [0, 0, 0]
    assert [now for now in bench.pids if now not in before] == [bench.pids[1]]


def test_the_last_of_a_group_that_is_left_is_one(bench: Bench) -> None:
    """Stopped in order, the others have left it the group: it is no minority."""
    bench.supervisor.kill("srv1/db", "srv2/db")
    bench.start_again("srv2/db")
    assert bench.states == ["killed", "ready", "ready"]


def test_when_all_have_failed_they_wait_and_start_together(bench: Bench) -> None:
    bench.supervisor.kill(*IDS)
    bench.start_again("srv3/db")
    bench.start_again("srv1/db")
    assert bench.states == [WAITING, "killed", WAITING]
    bench.start_again("srv2/db")
    assert bench.states == ["ready"] * 3
    assert bench.told == [1, 1, 1]


def test_one_that_is_left_without_a_group_starts_again_with_the_others(bench: Bench) -> None:
    bench.supervisor.kill("srv1/db", "srv2/db")
    bench.members[2].alone = True
    before = bench.pids
    bench.start_again("srv2/db")
    assert bench.states == ["killed", WAITING, "ready"]
    bench.start_again("srv1/db")
    assert bench.states == ["ready"] * 3
    assert set(bench.pids) & set(before) == {before[3]}, "somebody else's process is the same"


def test_a_frozen_one_is_not_asked_and_not_ended(bench: Bench) -> None:
    bench.supervisor.kill("srv1/db", "srv2/db")
    bench.supervisor.pause("srv3/db")
    for each in ("srv1/db", "srv2/db"):
        bench.start_again(each)
    assert bench.states == [WAITING, WAITING, "paused"]


def test_what_runs_is_left_alone(bench: Bench) -> None:
    before = bench.pids
    bench.start_again("srv1/db")
    assert bench.pids == before
