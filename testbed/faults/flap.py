"""``flap NODE [NEIGHBOUR]`` and ``lone PRIMARY``: a link that goes and comes back, again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from random import Random

from testbed.faults import selection
from testbed.faults.failover import kill_database, others
from testbed.faults.kind import COMPOUND, FLAPPING, Fault, Injection, Kind

#: for how long the link is down, then up (s)
RHYTHM = ((1.0, 0.5), (0.3, 1.5), (2.5, 0.2), (0.1, 0.1))
#: the same where a replica is hit: long enough that its primary's buffers fill, and that it connects in between
DOWN, UP, TIMES = (2.5, 7.0), (0.5, 1.5), 3


@contextmanager
def _flapping(injection: Injection, fault: Fault) -> Iterator[None]:
    """Down when the block begins; up for good after it, whatever the rhythm was at."""
    links = injection.testbed.links
    link = links.between(fault.target, fault.what)
    over, down = threading.Event(), threading.Event()

    def flap() -> None:
        for off, on in cycle(RHYTHM):
            links.cut(link)
            down.set()
            over.wait(off)
            links.mend(link)
            if over.wait(on):
                return

    thread = threading.Thread(target=flap, daemon=True, name=str(fault))
    thread.start()
    try:
        down.wait()
        injection.seen = "its link was seen down"
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _lone(injection: Injection, fault: Fault) -> Iterator[None]:
    """One replica's database is dead; the link of the other one goes and comes, and holds when the block begins."""
    random = Random(injection.number)
    dead, alive = random.sample(others(injection.testbed, fault.target), 2)
    clock = threading.Event()
    with kill_database(injection, dead):
        for turn in range(TIMES):
            if turn:
                clock.wait(random.uniform(*UP))
            with injection.also(Fault("cut", alive)):
                clock.wait(random.uniform(*DOWN))
        injection.seen = f"{dead} was dead, and the link of {alive} had come back {TIMES} times"
        yield


FLAP = Kind(
    "flap",
    "NODE [NEIGHBOUR]",
    "a link goes down and comes back, again and again",
    FLAPPING,
    10.0,
    selection.neighbours,
    _flapping,
    between=True,
)
LONE = Kind(
    "lone",
    "PRIMARY",
    "one replica is dead, and the other's link goes and comes back",
    COMPOUND,
    90.0,
    selection.with_two_replicas,
    _lone,
)
