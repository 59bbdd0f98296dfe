"""``full HOST DISK``: a disk without room. It is shrunk to what is in it, so that no memory is needed to fill it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from services.mariadb.mariadb import DATA
from testbed import power
from testbed.faults import selection
from testbed.faults.kind import ERROR, Fault, Injection, Kind, undone
from topo import wait
from topo.errors import RefusedError
from topo.paths import BOX
from topo.plan import DATABASE

if TYPE_CHECKING:
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
    victims = power.running(testbed, fault.target)

    def heal() -> None:
        _resize(disk, size)
        _end_if_it_waits(testbed, fault.target)
        testbed.restart(*victims)

    with undone(lambda: wait.until(lambda: _shrunk(disk), what=f"{disk} full", seconds=SECONDS), heal):
        injection.seen = f"its {fault.what} had no room"
        yield


def _end_if_it_waits(testbed: Testbed, host: str) -> None:
    """A database that starts on a full disk looks only once a minute whether there is room: it is killed."""
    service = f"{host}/{DATABASE}"
    unit = next((unit for unit in testbed.supervisor.units if unit.service.id == service), None)
    if unit is not None and unit.service.ready(unit.place):
        with suppress(RefusedError):  # it has ended by itself
            testbed.supervisor.kill(service)


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
    return _resize(disk, (known.f_blocks - known.f_bfree) * known.f_frsize)


def _resize(disk: Path, size: int) -> str | None:
    done = wait.for_command(("mount", "-o", f"remount,size={size}", str(disk)))
    return done.stderr.strip() or None if done.returncode else None


FULL = Kind("full", "HOST DISK", "a disk of it is full", ERROR, 90.0, selection.disks, _full)
