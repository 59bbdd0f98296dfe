"""A writer: one process on a host that writes at a steady pace and notes what it was told about every single write.

    python -m experiments.db_failover.writer

Its standard input is a line of JSON, what to do (`Order`), and then the words ``pause`` and ``resume``; when it ends,
so does the process. It prints a line of JSON for each write as its fate is known, ``[number, outcome, sent, answered,
server, tries]``, and ``"quiet"`` once nothing is under way after ``pause``.

It is the driver that one would want: it never sends a statement again whose fate nobody knows, unless a key makes that
harmless, and it is back within milliseconds when it was refused.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.db_failover.way import NobodyKnowsError, NotDoneError, Way

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# between tries: short, because the endpoint may be back at any moment; longer each time, because the machine is small
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.002, 0.015, 1.5


@dataclass(frozen=True)
class Order:
    """What a writer is to do. ``rate``: writes a second; ``patience``: seconds after which a write is given up."""

    way: str
    tag: str
    rate: float
    workers: int
    patience: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What was learned about a write. ``sent``: when the last try began; ``answered``: when its fate was known (s)."""

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
) -> Told:
    """Write it, trying again as long as that is harmless."""
    began, tries, doubt, rest = now(), 0, False, FIRST_PAUSE
    while True:
        sent, tries = now(), tries + 1
        try:
            server = way.write(text)
            return Told(OK, sent, now(), server, tries)
        except NotDoneError:
            pass
        except NobodyKnowsError:
            doubt = True
        if (doubt and not way.repeatable) or now() - began >= patience:
            return Told(UNKNOWN if doubt else FAILED, sent, now(), None, tries)
        pause(rest)
        rest = min(rest * GROWTH, LONGEST_PAUSE)


class Writer:
    """Some workers, each at its own pace on its own way; numbers are given once, in order."""

    def __init__(self, order: Order, ways: Callable[[], Way], tell: Callable[[object], None]) -> None:
        self._order = order
        self._tell = tell
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

    def _work(self, place: int, turn: threading.Lock, way: Way) -> None:
        every = self._order.workers / self._order.rate
        due = time.monotonic() + every * place / self._order.workers
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            with turn:
                number = next(self._numbers)
                told = written(way, f"{self._order.tag} {number}", self._order.patience)
                self._tell(
                    [number, told.outcome, round(told.sent, 5), round(told.answered, 5), told.server, told.tries]
                )
            # what was missed while waiting is not made up for: a burst would hide the gap
            due += every * max(1, -((due - time.monotonic()) // every))


def _way(order: Order) -> Callable[[], Way]:
    """How to make each worker's way."""
    if order.way == "endpoint":
        from experiments.db_failover.endpoint import Endpoint

        return lambda: Endpoint(**order.options)
    from experiments.db_failover.sitewriter import Site

    return lambda: Site(**order.options)


def _give_up(problem: threading.ExceptHookArgs) -> None:
    """A worker that fails unexpectedly takes the writer with it: a silent one would look like a database that is."""
    threading.__excepthook__(problem)
    os._exit(3)


def main() -> int:
    """Write until standard input ends."""
    threading.excepthook = _give_up
    talking = threading.Lock()

    def tell(what: object) -> None:
        with talking:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()

    order = Order(**json.loads(sys.stdin.readline()))
    writer = Writer(order, _way(order), tell)
    writer.start()
    for line in sys.stdin:
        if line.strip() == "pause":
            writer.pause()
            tell("quiet")
        elif line.strip() == "resume":
            writer.resume()
    return 0


if __name__ == "__main__":
    sys.exit(main())
