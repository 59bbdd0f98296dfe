"""The state of running testbeds as other terminals see it: one small folder of files, one lock for each name.

A testbed holds a lock on its file for as long as its launcher lives, and the kernel lets go of it when the launcher
dies, however it dies. So whether a testbed runs is asked of the lock, never of a pid in a file, and a file without a
living owner is swept away by the next one who looks.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from topo.errors import RefusedError, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
DEFAULT_NAME = "foobar"
SOCKET_PATH_LIMIT = 107
LOOK_SECONDS = 0.2  # ample for a process that locks a file only to see whether its owner lives


@dataclass(frozen=True)
class Entry:
    """One running testbed. ``pid`` is the box's first process; ``hosts`` maps names to pids inside the box."""

    name: str
    phase: str
    launcher: int
    pid: int
    started: str
    profile: dict[str, Any]
    hosts: dict[str, int]


def folder() -> Path:
    """The folder of the state: $FOOBAR_STATE, else /run/foobar for root, else below $XDG_RUNTIME_DIR or /tmp."""
    if os.environ.get("FOOBAR_STATE"):
        path = Path(os.environ["FOOBAR_STATE"])
    elif os.geteuid() == 0:
        path = Path("/run/foobar")
    elif os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(os.environ["XDG_RUNTIME_DIR"]) / "foobar"
    else:
        path = Path(tempfile.gettempdir()) / f"foobar-{os.geteuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise UsageError(f"{path} belongs to another user; set XDG_RUNTIME_DIR to a folder of your own")
    return path


class Claim:
    """The right to run a testbed of one name, until this process ends or ``release``."""

    def __init__(self, name: str) -> None:
        """Raises UsageError for a name that is not one, or that is taken."""
        if not NAME.fullmatch(name):
            raise UsageError(f"--name {name}: use up to 31 lower-case letters, digits and dashes")
        self.name = name
        self.file = folder() / f"{name}.json"
        self.socket_path = folder() / f"{name}.sock"
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_LIMIT:
            raise UsageError(f"{self.socket_path}: too long for a socket; set XDG_RUNTIME_DIR to a shorter one")
        self._descriptor = _locked_soon(self.file)
        if self._descriptor is None:
            raise UsageError(f"a testbed named {name} is running; choose another --name, or end it with: down {name}")
        self.socket_path.unlink(missing_ok=True)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(str(self.socket_path))
        self.socket_path.chmod(0o600)
        self.control.listen(8)

    def write(self, entry: Entry) -> None:
        assert self._descriptor is not None
        text = json.dumps(asdict(entry)).encode()
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))

    def release(self) -> None:
        self.control.close()
        self.socket_path.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def running() -> list[Entry]:
    """Every testbed whose launcher lives, by name. Stale and corrupt files of dead ones are removed."""
    entries = (entry(path.stem) for path in sorted(folder().glob("*.json")))
    return [testbed for testbed in entries if testbed]


def entry(name: str) -> Entry | None:
    """The running testbed of that name, or None; what a dead one left is removed.

    Where the file of a living one cannot be read, the kernel says who holds its socket: enough to end it.
    """
    if not NAME.fullmatch(name):
        return None
    path = folder() / f"{name}.json"
    if not path.exists():
        return None
    descriptor = _open_locked(path)
    if descriptor is not None:
        # the file last: the next testbed of that name makes a socket of its own
        (folder() / f"{name}.sock").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        os.close(descriptor)
        return None
    try:
        return Entry(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        launcher = _owner(folder() / f"{name}.sock")
        return Entry(name, "unreadable", launcher, 0, "", {}, {}) if launcher else None


def the(name: str | None) -> Entry:
    """The testbed a command means: the named one, or the only one. Raises UsageError, saying which there are."""
    names = [testbed.name for testbed in running()]
    wanted = name or (names[0] if len(names) == 1 else DEFAULT_NAME)
    chosen = entry(wanted)
    if chosen:
        return chosen
    if not names:
        raise UsageError("no testbed is running; start one with: up --detach")
    if name:
        raise UsageError(f"no testbed named {name} is running; running: {', '.join(names)}")
    raise UsageError(f"several testbeds are running; say which with --name: {', '.join(names)}")


def up(name: str | None) -> Entry:
    """The same, for commands that need it up. Raises RefusedError while it boots."""
    chosen = the(name)
    if chosen.phase != "up":
        raise RefusedError(f"testbed {chosen.name} is {chosen.phase}: try again when it is up")
    return chosen


def _owner(path: Path) -> int | None:
    """The process that listens on a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _locked_soon(path: Path) -> int | None:
    """``_open_locked``, repeated for as long as another process may need that only looks."""
    deadline = time.monotonic() + LOOK_SECONDS
    while (descriptor := _open_locked(path)) is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return descriptor


def _open_locked(path: Path) -> int | None:
    """An open, exclusively locked descriptor of the file at that path, or None when another process has the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """False when the file was removed (and perhaps made anew) between opening and locking it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
