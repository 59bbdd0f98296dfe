"""``blackhole FROM TO``: packets that vanish on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controllers.compile import blackhole_flow
from testbed.faults import selection
from testbed.faults.kind import SILENT, Fault, Injection, Kind, undone


@contextmanager
def _vanishing(injection: Injection, fault: Fault) -> Iterator[None]:
    links = injection.testbed.links
    flow = blackhole_flow(injection.testbed.plan, fault.target, fault.what)
    with undone(lambda: links.drop(flow), lambda: links.pass_again(flow)):
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
