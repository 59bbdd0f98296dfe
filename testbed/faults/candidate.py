"""``candidate PRIMARY``: the successor dies too, as soon as it has been chosen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.faults import selection
from testbed.faults.failover import database_greets, kill_database, manager_events, reaction
from testbed.faults.kind import COMPOUND, Fault, Injection, Kind


@contextmanager
def _candidate_dies_too(injection: Injection, fault: Fault) -> Iterator[None]:
    """It comes back at once, so that two of three databases serve again."""
    events = manager_events(injection.testbed)
    injection.begin()
    with kill_database(injection, fault.target):
        if chosen := reaction(events, "candidate", injection.began):
            candidate = str(chosen["candidate"])
            with kill_database(injection, candidate):
                dead = not database_greets(injection.testbed, candidate)
            if dead:
                injection.seen = f"{candidate} was chosen and did not greet either"
        yield


CANDIDATE = Kind(
    "candidate",
    "PRIMARY",
    "the chosen successor dies while it is being promoted",
    COMPOUND,
    130.0,
    selection.managed,
    _candidate_dies_too,
)
