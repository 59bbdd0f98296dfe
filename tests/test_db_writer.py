"""The writer: what it says of a write, and that it never sends again what may have been done."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from experiments.db_failover.writer import LONGEST_PAUSE, FailedError, IndeterminateError, Order, Writer, written


class Scripted:
    """A way that does what it is told, one thing a try."""

    def __init__(self, *script: int | Exception, repeatable: bool = False) -> None:
        self.script = list(script)
        self.repeatable = repeatable
        self.tried: list[str] = []

    def write(self, text: str) -> int | None:
        self.tried.append(text)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        return step


class Clock:
    """Time passes only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def tell(way: Scripted, patience: float = 2.0) -> tuple[str, int | None, int, Clock]:
    clock = Clock()
    told = written(way, "tag 1", patience, clock, clock.pause)
    return told.outcome, told.server, told.tries, clock


def test_an_acknowledged_write_says_by_whom() -> None:
    assert tell(Scripted(2))[:3] == ("ok", 2, 1)


def test_what_was_refused_is_tried_again_at_once() -> None:
    outcome, server, tries, clock = tell(Scripted(FailedError(), FailedError(), 3))
    assert (outcome, server, tries) == ("ok", 3, 3)
    assert clock.now < 100.01


def test_what_was_always_refused_has_failed_within_its_patience() -> None:
    outcome, _, tries, clock = tell(Scripted(FailedError()))
    assert outcome == "failed"
    assert 2.0 <= clock.now - 100 <= 2.0 + LONGEST_PAUSE
    assert tries > 100


def test_what_may_have_been_done_is_not_sent_again() -> None:
    way = Scripted(FailedError(), IndeterminateError(), 1)
    assert tell(way)[:3] == ("unknown", None, 2)
    assert len(way.tried) == 2


def test_with_a_key_it_is_sent_again() -> None:
    assert tell(Scripted(IndeterminateError(), FailedError(), 1, repeatable=True))[:3] == ("ok", 1, 3)


def test_a_key_does_not_make_it_certain() -> None:
    assert tell(Scripted(IndeterminateError(), FailedError(), repeatable=True))[0] == "unknown"


@pytest.fixture
def told() -> list[list[object]]:
    return []


def writer(told: list[list[object]], ways: Callable[[], Scripted], rate: float = 500, workers: int = 3) -> Writer:
    def hear(what: object) -> None:
        told.append(json.loads(json.dumps(what)))

    made = Writer(Order("endpoint", "tag", rate, workers, 1.0), ways, hear)
    made.start()
    return made


def wait_for(told: list[list[object]], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(told) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(told) >= count


def test_every_write_has_a_number_of_its_own(told: list[list[object]]) -> None:
    at_work = writer(told, lambda: Scripted(1))
    wait_for(told, 30)
    at_work.pause()
    assert sorted(int(str(each[0])) for each in told) == list(range(1, len(told) + 1))


def test_a_paused_writer_is_quiet_and_goes_on_afterwards(told: list[list[object]]) -> None:
    at_work = writer(told, lambda: Scripted(1))
    wait_for(told, 5)
    at_work.pause()
    quiet = len(told)
    threading.Event().wait(0.05)
    assert len(told) == quiet
    at_work.resume()
    wait_for(told, quiet + 5)
