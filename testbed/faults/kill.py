"""``kill HOST SERVICE``: a crash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed import power
from testbed.faults import selection
from testbed.faults.kind import CRASH, Fault, Injection, Kind, undone


@contextmanager
def _killed(injection: Injection, fault: Fault) -> Iterator[None]:
    testbed, service = injection.testbed, f"{fault.target}/{fault.what}"
    power.refuse_if_ended(testbed, service)
    with undone(lambda: testbed.supervisor.kill(service), lambda: testbed.restart(service)):
        yield


KILL = Kind(
    "kill", "HOST SERVICE", "it crashes: SIGKILL to all of its processes", CRASH, 60.0, selection.services, _killed
)
