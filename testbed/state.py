"""The state of running testbeds as other terminals see it: one small folder of files, one lock for each name.

A testbed holds a lock on its file for as long as its launcher lives, and the kernel lets go of it when the launcher
dies, however it dies. So whether a testbed runs is asked of the lock, never of a pid in a file, and a file without a
living owner is swept away by the next one who looks: if it is an entry of ours, in a folder that is the user's alone.
Whatever else lies there is left as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import stat
import struct
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from topo import folders
from topo.errors import FoobarError, RefusedError, UsageError
from topo.folders import Folder
from topo.profile import Profile

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
DEFAULT_NAME = "foobar"
SOCKET_PATH_LIMIT = 107
LOOK_SECONDS = 0.2  # ample for a process that locks a file only to see whether its owner lives
ANSWER_SECONDS = 1.0
MOST_BYTES = 2**16
FIRST_PID, LAST_PID = 2, 2**31 - 1  # 0, 1 and those below zero mean others than the launcher


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


def parsed(text: bytes, name: str) -> Entry | None:
    """The entry of a testbed of that name, or None for what is none: every value of its kind and in its range."""
    try:
        entry = Entry(**json.loads(text))
        Profile(**entry.profile)
        pids = ((entry.launcher, FIRST_PID), (entry.pid, 0), *((pid, 1) for pid in entry.hosts.values()))
        sound = all(type(pid) is int and least <= pid <= LAST_PID for pid, least in pids)
    except (ValueError, TypeError, AttributeError, RecursionError, FoobarError):
        return None
    words = (entry.name, entry.phase, entry.started, *entry.hosts)
    return entry if sound and entry.name == name and all(isinstance(word, str) for word in words) else None


def folder() -> Path:
    """The folder of the state: $FOOBAR_STATE, else /run/foobar for root, else below $XDG_RUNTIME_DIR or /tmp.

    It is the user's own and nobody else may write in it, else UsageError.
    """
    if os.environ.get("FOOBAR_STATE"):
        path = Path(os.environ["FOOBAR_STATE"])
    elif os.geteuid() == 0:
        path = Path("/run/foobar")
    elif os.environ.get("XDG_RUNTIME_DIR"):
        path = Path(os.environ["XDG_RUNTIME_DIR"]) / "foobar"
    else:
        path = Path(tempfile.gettempdir()) / f"foobar-{os.geteuid()}"
    try:
        folders.opened(path, make=True, private=True).close()
    except UsageError as error:
        raise UsageError(f"{error}; or set FOOBAR_STATE to a folder of your own") from None
    return path


class Claim:
    """The right to run a testbed of one name, until this process ends or ``release``."""

    def __init__(self, name: str) -> None:
        """Raises UsageError for a name that is not one, or that is taken."""
        if not NAME.fullmatch(name):
            raise UsageError(f"--name {name}: use up to 31 lower-case letters, digits and dashes")
        self.name = name
        self._folder = folders.opened(folder(), private=True)
        self.file = self._folder.path / f"{name}.json"
        self.socket_path = self._folder.path / f"{name}.sock"
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_LIMIT:
            raise UsageError(f"{self.socket_path}: too long for a socket; set XDG_RUNTIME_DIR to a shorter one")
        self._descriptor = self._locked()
        _remove_socket(self._folder, name)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(str(self.socket_path))
        self.socket_path.chmod(0o600)
        self.control.listen(8)

    def _locked(self) -> int | None:
        """The file, locked, if it is ours to write: new, or left by a dead testbed."""
        self._folder.refuse_strange(self.file.name)
        if (there := self._folder.status(self.socket_path.name)) and not stat.S_ISSOCK(there.st_mode):
            raise UsageError(f"{self.socket_path}: no testbed's socket, so it is not removed; choose another --name")
        deadline = time.monotonic() + LOOK_SECONDS  # another process may hold the lock that only looks
        while (descriptor := _lock(self._folder, self.file.name, os.O_CREAT)) is None:
            if time.monotonic() > deadline:
                name = self.name
                raise UsageError(
                    f"a testbed named {name} is running; choose another --name, or end it with: down {name}"
                )
            time.sleep(0.002)
        text = os.pread(descriptor, MOST_BYTES, 0)
        if text and parsed(text, self.name) is None:
            os.close(descriptor)
            raise UsageError(f"{self.file}: no testbed's state, so it is not written to; choose another --name")
        return descriptor

    def write(self, entry: Entry) -> None:
        """Replace the text in one step, so that none is ever half there."""
        assert self._descriptor is not None
        text = json.dumps(asdict(entry)).encode()
        os.pwrite(self._descriptor, text.ljust(os.fstat(self._descriptor).st_size), 0)

    def release(self) -> None:
        self.control.close()
        if self._descriptor is not None:
            _remove_socket(self._folder, self.name)
            self._folder.remove(self.file.name)
            os.close(self._descriptor)
            self._descriptor = None


def running() -> list[Entry]:
    """Every testbed whose launcher lives, by name. Entries of dead ones are removed."""
    with folders.opened(folder(), private=True) as there:
        stems = [name.removesuffix(".json") for name in there.names() if name.endswith(".json")]
        entries = [_entry(there, stem) for stem in stems]
    return [testbed for testbed in entries if testbed]


def entry(name: str) -> Entry | None:
    """The running testbed of that name, or None; what a dead one left is removed.

    Where the file of a living one cannot be read, the kernel says who holds its socket: enough to end it.
    """
    with folders.opened(folder(), private=True) as there:
        return _entry(there, name)


def _entry(there: Folder, name: str) -> Entry | None:
    file = f"{name}.json"
    if not NAME.fullmatch(name) or not _is_plain(there, file):
        return None
    descriptor = _lock(there, file)
    if descriptor is not None:
        if parsed(os.pread(descriptor, MOST_BYTES, 0), name):
            # the file last: the next testbed of that name makes a socket of its own
            _remove_socket(there, name)
            there.remove(file)
        os.close(descriptor)
        return None
    with suppress(UsageError):
        if saved := parsed(there.read(file, MOST_BYTES), name):
            return saved
    launcher = _listener(there.path / f"{name}.sock")
    return Entry(name, "unreadable", launcher, 0, "", {}, {}) if launcher else None


def the(name: str | None) -> Entry:
    """The testbed a command means: the named one, or the only one. Raises UsageError, saying which there are."""
    names = [testbed.name for testbed in running()]
    wanted = (names[0] if len(names) == 1 else DEFAULT_NAME) if name is None else name
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


def send(testbed: Entry, number: int) -> int | None:
    """Send a signal to a testbed's launcher, and never to another process: to the one that holds its file; its pid."""
    with folders.opened(folder(), private=True) as there:
        for pid in (testbed.launcher, _listener(there.path / f"{testbed.name}.sock")):
            if pid and _send(there, f"{testbed.name}.json", pid, number):
                return pid
    return None


def _send(there: Folder, file: str, pid: int, number: int) -> bool:
    with suppress(OSError):
        process = os.pidfd_open(pid)  # first, so that it is the one whose descriptors are looked at
        try:
            if holds(there, file, pid):
                signal.pidfd_send_signal(process, number)
                return True
        finally:
            os.close(process)
    return False


def holds(there: Folder, file: str, pid: int) -> bool:
    """True if a process has a file of this folder open."""
    own = there.status(file)
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            if own and os.path.samestat(own, os.stat(f"/proc/{pid}/fd/{descriptor}")):
                return True
    return False


def _listener(path: Path) -> int | None:
    """The process that listens on a socket."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _is_plain(there: Folder, file: str) -> bool:
    """True if there is a file of that name, no link, that is the user's own."""
    status = there.status(file)
    return bool(status and stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid())


def _lock(there: Folder, file: str, flags: int = 0) -> int | None:
    """An open, exclusively locked descriptor of a file, or None when another process has the lock, or it has gone."""
    while True:
        try:
            descriptor = there.open(file, os.O_RDWR | flags)
        except UsageError:
            if flags:
                raise
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_still(there, file, descriptor):
            return descriptor
        os.close(descriptor)


def _is_still(there: Folder, file: str, descriptor: int) -> bool:
    """False when the file was removed (and perhaps made anew) between opening and locking it."""
    own = there.status(file)
    return bool(own and os.path.samestat(own, os.fstat(descriptor)))


def _remove_socket(there: Folder, name: str) -> None:
    """Remove a testbed's socket; what else may have its name stays."""
    status = there.status(f"{name}.sock")
    if status and stat.S_ISSOCK(status.st_mode):
        there.remove(f"{name}.sock")
