"""``off NODE``: power that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed import power
from testbed.faults import selection
from testbed.faults.kind import SILENT, Fault, Injection, Kind, undone


@contextmanager
def _off(injection: Injection, fault: Fault) -> Iterator[None]:
    testbed, name = injection.testbed, fault.target
    power.refuse_if_off(testbed, name)
    off, on = power.host_off, power.host_on
    if testbed.plan.is_switch(name):
        off, on = power.switch_off, power.switch_on
    with undone(lambda: off(testbed, name), lambda: on(testbed, name)):
        yield


# a host's old connections may take the kernel two minutes to forget
OFF = Kind("off", "NODE", "a host or a switch loses its power", SILENT, 240.0, selection.nodes, _off)
