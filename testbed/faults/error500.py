"""``error500 HOST``: an application that runs, and answers with errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.service import Fails
from testbed import power
from testbed.faults import selection
from testbed.faults.kind import ERROR, Fault, Injection, Kind, undone


@contextmanager
def _failing(injection: Injection, fault: Fault) -> Iterator[None]:
    name = f"{fault.target}/{fault.what}"
    power.refuse_if_ended(injection.testbed, name)
    unit = injection.testbed.supervisor.unit(name)
    service = unit.service
    assert isinstance(service, Fails)
    with undone(lambda: service.fail(unit.place), lambda: service.recover(unit.place)):
        yield


ERROR500 = Kind(
    "error500", "HOST", "its application answers 500 to everything", ERROR, 10.0, selection.failing, _failing
)
