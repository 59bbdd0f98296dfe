"""``freeze HOST SERVICE``: a process that hangs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed import power
from testbed.faults import selection
from testbed.faults.kind import SILENT, Fault, Injection, Kind, undone


@contextmanager
def _frozen(injection: Injection, fault: Fault) -> Iterator[None]:
    testbed, service = injection.testbed, f"{fault.target}/{fault.what}"
    power.refuse_if_ended(testbed, service)
    with undone(lambda: testbed.supervisor.pause(service), lambda: testbed.resume(service)):
        yield


FREEZE = Kind(
    "freeze",
    "HOST SERVICE",
    "it hangs: SIGSTOP; its connections stay open",
    SILENT,
    60.0,
    selection.services,
    _frozen,
)
