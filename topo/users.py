"""The users as which daemons run: one for each task, so that whoever takes over one cannot read its neighbours' files.

They are numbers that no machine gives to anybody (Debian's, systemd's and containers' ranges leave them out) and have
no entry in the machine's own /etc/passwd: hosts know their names (testbed/hostroot.py). A service on another host with
the same task has the same number, as with packages of a distribution.

An ordinary user's box has one user only, who is root there: then every daemon runs as that, and ``why_not`` says so.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from topo.paths import PROJECT
from topo.plan import APP, BALANCER, DATABASE, LOGS, METRICS, RESOLVER, WEB

FAILOVER, DETECTION, CONTROLLER = "failover", "detection", "controller"
#: every task that a daemon on a host has, and the controller's, whose socket some of them use; each one's place in it
#: is its number
ROLES: tuple[str, ...] = (RESOLVER, BALANCER, WEB, APP, DATABASE, FAILOVER, METRICS, LOGS, DETECTION, CONTROLLER)
ROLES += ("exporter", "agent", "shipper")
FIRST = 61000
#: of what daemons make: their group may read it, and nobody else
UMASK = 0o027


class HasUser(Protocol):
    """A service, as far as its user follows from it. ``reads``: the tasks whose files it may read as well."""

    role: str

    @property
    def reads(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class DaemonUser:
    """``number``: of the user, and of its own group; ``groups``: of all its groups."""

    number: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Rights:
    """All that a process may do beside what every user may, for good. Without a user it is root's, with no more."""

    capabilities: tuple[str, ...] = ()
    user: DaemonUser | None = None


def number(role: str) -> int:
    """Of the user who has this task, and of his own group."""
    return FIRST + ROLES.index(role)


def name(role: str) -> str:
    """As a host's /etc/passwd has it, and configurations name it."""
    return f"_{role}"


def of(service: HasUser) -> DaemonUser | None:
    """The user of a service on a host; None where all of them are root."""
    if why_not():
        return None
    return DaemonUser(
        number(service.role), tuple(number(role) for role in dict.fromkeys((service.role, *service.reads)))
    )


def accounts() -> tuple[str, str]:
    """Lines for /etc/passwd and /etc/group; where there is one user only, all names are his."""
    numbers = {name(role): 0 if why_not() else number(role) for role in ROLES}
    users = "".join(f"{who}:x:{uid}:{uid}::/:/usr/sbin/nologin\n" for who, uid in numbers.items())
    return users, "".join(f"{who}:x:{gid}:\n" for who, gid in numbers.items())


def give(path: Path, user: DaemonUser | None) -> None:
    """A folder, and all that is in it, belongs to a service. No link in it leads elsewhere."""
    if user is None or not path.parent.is_dir():
        return
    own = user.number
    with suppress(FileNotFoundError):
        os.chown(path, own, own, follow_symlinks=False)
        for _, folders, files, descriptor in os.fwalk(path):
            for entry in (*folders, *files):
                with suppress(FileNotFoundError):  # it is gone meanwhile
                    os.chown(entry, own, own, dir_fd=descriptor, follow_symlinks=False)


def share(folder: Path, role: str) -> None:
    """Share a folder of root's, and all that is made there, with the services that read what is this role's."""
    if not why_not():
        os.chown(folder, -1, number(role))
        folder.chmod(0o2750)


@lru_cache
def why_not() -> str | None:
    """The reason for which daemons have no users of their own here; None when they have."""
    if not _all_there(Path("/proc/self/uid_map").read_text()):
        return "the box has one user only, as it was not made by the machine's root"
    return next((f"other users may not read {path}: chmod -R go+rX {path}" for path in _closed()), None)


def _all_there(mapped: str) -> bool:
    """True if these ranges of a user namespace (inside, outside, length) have every number of ours."""
    ranges = [[int(word) for word in line.split()] for line in mapped.splitlines()]
    return all(any(begin <= uid < begin + size for begin, _, size in ranges) for uid in (FIRST, number(ROLES[-1])))


def _closed() -> Iterator[Path]:
    """Parts of the project, and of its Python, that daemons of ours must read, and only root can."""
    own = [PROJECT, *(PROJECT / part for part in ("topo", "controllers", "services"))]
    for path in (*own, Path(sys.prefix), Path(os.__file__), Path(sys.executable).resolve()):
        if not _open(path):
            yield path
    for part in own[1:]:
        for place, folders, files in os.walk(part):
            folders[:] = [folder for folder in folders if folder != "__pycache__"]
            yield from (path for entry in (*folders, *files) if not _open(path := Path(place, entry)))
    for kept in map(Path, sys.path):
        if kept.name in ("site-packages", "dist-packages") and kept.is_dir():
            yield from (path for path in kept.iterdir() if not _open(path))


def _open(path: Path) -> bool:
    with suppress(OSError):
        mode = path.stat().st_mode
        return bool(mode & stat.S_IROTH) and (not stat.S_ISDIR(mode) or bool(mode & stat.S_IXOTH))
    return True
