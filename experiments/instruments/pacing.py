"""Pacing: when requests are due, in monotonic seconds, whatever becomes of those before. The one place for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from random import Random

POISSON, STEADY = "poisson", "steady"


def poisson(rate: float, random: Random, start: float) -> Iterator[float]:
    """A Poisson process: as independent visitors come, ``rate`` of them a second."""
    due = start
    while True:
        due += random.expovariate(rate)
        yield due


def steady(rate: float, start: float) -> Iterator[float]:
    """One every 1/``rate`` s, the first at once."""
    return (start + number / rate for number in count())


def moments(pace: str, rate: float, seed: int) -> Iterator[float]:
    """When the requests of a load are due that begins now."""
    start = time.monotonic()
    return steady(rate, start) if pace == STEADY else poisson(rate, Random(seed), start)


def not_missed(due: Iterable[float], now: Callable[[], float] = time.monotonic) -> Iterator[float]:
    """The due times that have not passed: what was missed is not made up for by a burst."""
    return (moment for moment in due if moment >= now())
