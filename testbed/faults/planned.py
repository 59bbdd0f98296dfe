"""``planned PRIMARY SUCCESSOR``: nothing dies, the primary is asked to hand over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from testbed.faults import selection
from testbed.faults.kind import PLANNED, Fault, Injection, Kind
from topo.errors import FoobarError


@contextmanager
def _handed_over(injection: Injection, fault: Fault) -> Iterator[None]:
    """A refused switchover leaves ``seen`` empty. There is nothing to heal: the successor stays primary."""
    injection.begin()
    injection.mark("switchover", to=fault.what)
    with suppress(FoobarError):
        done = injection.testbed.switch_over(fault.what)
        injection.seen = f"{done['primary']} took over from {done['before']}"
    injection.mark("switched over", to=fault.what)
    yield


HAND_OVER = Kind(
    "planned",
    "PRIMARY SUCCESSOR",
    "the primary is asked to hand over",
    PLANNED,
    60.0,
    selection.successors,
    _handed_over,
    between=True,
)
