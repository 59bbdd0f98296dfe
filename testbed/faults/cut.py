"""``cut NODE [NEIGHBOUR]``: a cable that is pulled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.faults import selection
from testbed.faults.kind import SILENT, Fault, Injection, Kind, undone


@contextmanager
def _cut(injection: Injection, fault: Fault) -> Iterator[None]:
    links = injection.testbed.links
    link = links.between(fault.target, fault.what)
    with undone(lambda: links.cut(link), lambda: links.mend(link)):
        yield


CUT = Kind(
    "cut",
    "NODE [NEIGHBOUR]",
    "a link is cut, in both directions",
    SILENT,
    10.0,
    selection.neighbours,
    _cut,
    between=True,
)
