"""``blackhole FROM TO``: packets that vanish on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controllers.overlay import black_hole
from testbed.faults import selection
from testbed.faults.kind import SILENT, Fault, Injection, Kind


@contextmanager
def _vanishing(injection: Injection, fault: Fault) -> Iterator[None]:
    overlay = black_hole(injection.testbed.plan, fault.target, fault.what, reason=f"fault {fault}")
    with injection.testbed.overlays.above(overlay):
        yield


BLACKHOLE = Kind(
    "blackhole",
    "FROM TO",
    "what one host sends to another vanishes; not what comes back",
    SILENT,
    10.0,
    selection.pairs,
    _vanishing,
    between=True,
)
