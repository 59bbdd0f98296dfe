"""``stop HOST SERVICE`` and ``stop-controller``: an administrator ends it in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed import power
from testbed.faults import selection
from testbed.faults.kind import GRACEFUL, Fault, Injection, Kind, undone
from topo.paths import BOX


@contextmanager
def _stopped(injection: Injection, fault: Fault) -> Iterator[None]:
    testbed, service = injection.testbed, f"{fault.target}/{fault.what}"
    power.refuse_if_ended(testbed, service)
    with undone(lambda: testbed.supervisor.stop(service), lambda: testbed.restart(service)):
        yield


@contextmanager
def _controller_stopped(injection: Injection, _: Fault) -> Iterator[None]:
    with _stopped(injection, Fault("stop", BOX, selection.CONTROLLER)):
        yield


STOP = Kind(
    "stop",
    "HOST SERVICE",
    "an administrator stops it: it finishes what it has begun",
    GRACEFUL,
    60.0,
    selection.services,
    _stopped,
)
STOP_CONTROLLER = Kind(
    "stop-controller", "", "the switches are left alone", GRACEFUL, 60.0, selection.nothing, _controller_stopped
)
