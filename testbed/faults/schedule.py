"""A fault schedule: which one comes when. In random order by the seed, and each equally often."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def schedule(faults: Sequence[T], count: int, random: Random) -> list[T]:
    """``count`` faults: all of them in random order, again and again, so that none comes twice more than another."""
    rounds = -(-count // len(faults))
    return [fault for _ in range(rounds) for fault in random.sample(list(faults), len(faults))][:count]
