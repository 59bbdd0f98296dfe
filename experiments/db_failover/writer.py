"""A writer: a worker (instruments/worker.py) that writes at a steady pace and notes the fate of every single write.

Its settings are an `Order`; each result is ``[number, outcome, sent, answered, server, tries]``.

It is the driver that one would want: it never sends a statement again whose fate is indeterminate, unless a key makes
that harmless, and it is back within milliseconds when it was refused.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.db_failover.ways import EndpointWay, FailedError, IndeterminateError, SiteWay, Way
from experiments.instruments.pacing import not_missed, steady
from experiments.instruments.worker import Say, serve

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# between tries: short, because the endpoint may be back at any moment; longer each time, because the machine is small
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.002, 0.015, 1.5


@dataclass(frozen=True)
class Order:
    """A writer's settings. ``rate``: writes a second; ``patience``: seconds after which a write is given up."""

    way: str
    tag: str
    rate: float
    workers: int
    patience: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WriteFate:
    """The outcome of a write, with times in s since 1970.

    ``sent``: when the last try began; ``answered``: when its fate was known.
    """

    outcome: str
    sent: float
    answered: float
    server: int | None
    tries: int


def written(
    way: Way,
    text: str,
    patience: float,
    now: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> WriteFate:
    """Write it, trying again as long as that is harmless."""
    began, tries, doubt, rest = now(), 0, False, FIRST_PAUSE
    while True:
        sent, tries = now(), tries + 1
        try:
            server = way.write(text)
            return WriteFate(OK, sent, now(), server, tries)
        except FailedError:
            pass
        except IndeterminateError:
            doubt = True
        if (doubt and not way.repeatable) or now() - began >= patience:
            return WriteFate(UNKNOWN if doubt else FAILED, sent, now(), None, tries)
        pause(rest)
        rest = min(rest * GROWTH, LONGEST_PAUSE)


class Writer:
    """Some workers, each at its own pace on its own way; numbers are given once, in order."""

    def __init__(self, order: Order, ways: Callable[[], Way], say: Say) -> None:
        self._order = order
        self._say = say
        self._numbers = itertools.count(1)
        self._turns = [threading.Lock() for _ in range(order.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(place, turn, ways()), daemon=True)
            for place, turn in enumerate(self._turns)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Return when no write is under way; none begins until ``resume``."""
        for turn in self._turns:
            turn.acquire()

    def resume(self) -> None:
        for turn in self._turns:
            turn.release()

    def end(self) -> None:
        """Writes under way are given up: the reader of their outcomes has gone."""

    def _work(self, place: int, turn: threading.Lock, way: Way) -> None:
        workers, rate = self._order.workers, self._order.rate
        for due in not_missed(steady(rate / workers, time.monotonic() + place / rate)):
            time.sleep(max(0.0, due - time.monotonic()))
            with turn:
                number = next(self._numbers)
                fate = written(way, f"{self._order.tag} {number}", self._order.patience)
                self._say([number, fate.outcome, round(fate.sent, 5), round(fate.answered, 5), fate.server, fate.tries])


def _way(order: Order) -> Callable[[], Way]:
    """A function that makes each worker's way."""
    return lambda: (EndpointWay if order.way == "endpoint" else SiteWay)(**order.options)


def _job(raw: Mapping[str, Any], say: Say) -> Writer:
    order = Order(**raw)
    return Writer(order, _way(order), say)


if __name__ == "__main__":
    sys.exit(serve(_job))
