"""``full HOST DISK``: a disk without room. It is shrunk to what is in it, so that no memory is needed to fill it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from services.mariadb.mariadb import DATA, LOG
from testbed import mounts
from testbed.faults import selection
from testbed.faults.kind import ERROR, Fault, Injection, Kind, undone
from topo import wait
from topo.errors import DeadlineError, RefusedError
from topo.paths import BOX
from topo.plan import DATABASE

if TYPE_CHECKING:
    from services.unit import Unit
    from testbed.testbed import Testbed

#: what the disks of a host are called, and a folder on each
DISKS = {"data": DATA, "log": "/var/log"}
SECONDS = 5


@contextmanager
def _full(injection: Injection, fault: Fault) -> Iterator[None]:
    """Nothing more can be written; what is there stays, and what is deleted makes room. Healed, all services run."""
    testbed = injection.testbed
    disk = _disk(testbed.inside(fault.target).path(DISKS[fault.what]), testbed.inside(BOX).path("/run"))
    if disk is None:
        raise RefusedError(f"{fault.target} has no disk of its own for its {fault.what}: all hosts would be hit")
    size = _size(disk)

    def heal() -> None:
        mounts.resize(disk, size)
        for unit in _databases(testbed, fault.target):
            _wake(testbed, unit)
        testbed.restart(*_ended(testbed, fault.target))

    with undone(lambda: wait.until(lambda: _shrunk(disk), what=f"{disk} full", seconds=SECONDS), heal):
        injection.seen = f"its {fault.what} had no room"
        yield


def _databases(testbed: Testbed, host: str) -> list[Unit]:
    units = testbed.supervisor.units
    return [unit for unit in units if unit.service.host == host and unit.service.role == DATABASE]


def _wake(testbed: Testbed, unit: Unit) -> None:
    """A database that waits for room looks for it only once a minute: it is ended, and starts again. One that recovers
    is not: what it takes back in its tables and in its binary log would no longer be the same."""
    if unit.state not in ("started", "ready"):
        return
    with suppress(DeadlineError):
        if not _complains(unit):
            wait.until(lambda: unit.service.ready(unit.place), what=unit.service.id, seconds=SECONDS)
            return
    with suppress(RefusedError):  # it has ended by itself
        testbed.supervisor.kill(unit.service.id)
        testbed.supervisor.start(unit.service.id)


def _complains(unit: Unit) -> bool:
    """True if its process has said that it waits for room; while its log has no room itself it says nothing."""
    return b"Disk is full" in unit.written(LOG).rpartition(b"Starting MariaDB")[2]


def _ended(testbed: Testbed, host: str) -> list[str]:
    """The services of a host that have died of it. What another fault has ended or frozen is left to that."""
    units = [unit for unit in testbed.supervisor.units if unit.service.host == host]
    return [unit.service.id for unit in units if unit.state in ("died", "started")]


def _disk(folder: Path, shared: Path) -> Path | None:
    """The place where a folder's file system is mounted; None when it is the one that all share."""
    device = folder.stat().st_dev
    if device == shared.stat().st_dev:
        return None
    return next(path for path in (folder, *folder.parents) if path.parent.stat().st_dev != device)


def _size(disk: Path) -> int:
    known = os.statvfs(disk)
    return known.f_blocks * known.f_frsize


def _shrunk(disk: Path) -> str | None:
    """Shrink it to what is in it; the reason when that has just become more."""
    known = os.statvfs(disk)
    try:
        mounts.resize(disk, (known.f_blocks - known.f_bfree) * known.f_frsize)
    except OSError as error:
        return str(error)
    return None


FULL = Kind("full", "HOST DISK", "a disk of it is full", ERROR, 90.0, selection.disks, _full)
