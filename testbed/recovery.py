"""Starting again what has failed: after a fault, at the power switch, or because it is declared to come back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from services.service import Gathers, Joins
from services.unit import Unit
from testbed import groups
from testbed.core import CONTROLLER_ID, TestbedCore
from topo import wait
from topo.errors import RefusedError
from topo.paths import BOX
from topo.plan import DATABASE

OVSDB, SWITCHD = INFRASTRUCTURE = (f"{BOX}/ovsdb-server", f"{BOX}/ovs-vswitchd")
WATCH_SECONDS = 0.1
ROTATE_LOOKS = 20


def restart(testbed: TestbedCore, *service_ids: str) -> None:
    """Start what does not run of these services, as at the boot; returns when all are ready and joined.

    Joining is not waited for while something else is broken, nor where a failover manager sees to it. What
    belongs to a host without power is started when that is back.
    """
    units = []
    for unit in map(testbed.supervisor.unit, service_ids):
        if unit.service.host in testbed.powerless:
            testbed.powerless[unit.service.host].append(unit.service.id)
        else:
            units.append(unit)
    for last in (False, True):
        _start_again(testbed, [unit for unit in units if unit.service.last == last])
    if testbed.profile.db == "single" and len(testbed.active_faults.status()) < 2:
        for unit in units:
            if isinstance(unit.service, Joins):
                wait_joined(unit)
    if CONTROLLER_ID in service_ids:
        testbed.wait_for_flows()


def _start_again(testbed: TestbedCore, units: list[Unit]) -> None:
    def again(unit: Unit) -> None:
        if isinstance(unit.service, Gathers):
            groups.start_again(testbed.supervisor, unit)
            return
        with suppress(RefusedError):  # another thread was quicker
            testbed.supervisor.start(unit.service.id)
        testbed.supervisor.wait_ready(unit.service.id)

    if len(units) == 1:
        again(units[0])
    else:
        for started in [testbed.pool.submit(again, unit) for unit in units]:
            started.result()
    for unit in units:
        testbed.failures.pop(unit.service.id, None)


def resume(testbed: TestbedCore, service_id: str) -> None:
    """Let a frozen service go on, if it is still there; returns when it serves."""
    with suppress(RefusedError):  # killed meanwhile, by another fault
        testbed.supervisor.resume(service_id)
        testbed.supervisor.wait_ready(service_id)
        if service_id == CONTROLLER_ID:
            testbed.wait_for_flows()


def cycle_database(testbed: TestbedCore, host: str) -> None:
    """Off and on again, as at the plug; returns when it is off. Raises RefusedError without power."""
    if host in testbed.powerless:
        raise RefusedError(f"{host} has no power")
    service_id = f"{host}/{DATABASE}"
    with suppress(RefusedError):  # it is off already
        testbed.supervisor.kill(service_id)
    testbed.pool.submit(_launch, testbed, service_id)


def _launch(testbed: TestbedCore, service_id: str) -> None:
    """In the background, where nothing waits for its end: what goes wrong is kept, and shown with the status."""
    try:
        testbed.supervisor.launch(service_id)
    except RefusedError:  # another thread was quicker
        pass
    except Exception as error:  # whatever it is, it must not be lost with the thread
        testbed.failures[service_id] = f"not started again: {error}"
    else:
        testbed.failures.pop(service_id, None)


def wait_joined(unit: Unit) -> None:
    """Return when it has taken its place among the others. Raises DeadlineError."""
    assert isinstance(unit.service, Joins)
    service, place = unit.service, unit.place
    wait.until(lambda: service.joined(place), what=f"{unit.service.id} joined", seconds=15)


def watch(testbed: TestbedCore, broken: Callable[[str], None]) -> None:
    """Bring the controller back when it dies, rotate logs; call ``broken`` when Open vSwitch has died."""
    for look in count(1):
        time.sleep(WATCH_SECONDS)
        if look % ROTATE_LOOKS == 0:
            testbed.supervisor.rotate_logs()
        try:
            testbed.supervisor.revive()
            testbed.failures.pop(CONTROLLER_ID, None)
        except Exception as error:  # whatever it is, this thread must live on: it also looks after Open vSwitch
            testbed.failures[CONTROLLER_ID] = f"not started again: {error}"
        for service_id in INFRASTRUCTURE:
            unit = testbed.supervisor.unit(service_id)
            if unit.state == "died" and "ready" in unit.times:
                broken(f"{service_id} died: the network is gone, so the testbed ends")
                return
