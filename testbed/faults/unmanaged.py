"""``manager PRIMARY`` and ``unwatched PRIMARY``: the failover manager dies during a failover, or before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from testbed.faults import selection
from testbed.faults.failover import kill_database, kill_manager, manager_events, reaction
from testbed.faults.kind import COMPOUND, Fault, Injection, Kind


@contextmanager
def _manager_dies_too(injection: Injection, fault: Fault) -> Iterator[None]:
    """Just after it has noticed; it is started again at once."""
    events = manager_events(injection.testbed)
    injection.begin()
    with kill_database(injection, fault.target):
        if reaction(events, "detect", injection.began):
            with kill_manager(injection):
                injection.seen = "the manager was killed after its detect"
        yield


@contextmanager
def _manager_dies_first(injection: Injection, fault: Fault) -> Iterator[None]:
    """At first nothing is there that could notice; it is started again as soon as the primary is dead."""
    with ExitStack() as stack:
        stack.enter_context(kill_manager(injection))
        injection.begin()
        with kill_database(injection, fault.target):
            injection.seen = "the manager was dead"
            stack.close()
            yield


MANAGER = Kind(
    "manager",
    "PRIMARY",
    "the manager dies in the middle of a failover",
    COMPOUND,
    130.0,
    selection.managed,
    _manager_dies_too,
)
UNWATCHED = Kind(
    "unwatched",
    "PRIMARY",
    "the manager is dead when the primary dies",
    COMPOUND,
    130.0,
    selection.managed,
    _manager_dies_first,
)
