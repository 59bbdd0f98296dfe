"""Reaching into an emulated host: start a process there, open a socket there.

A host is five namespaces behind one init process. Two things make this cheap: the pid namespace for children is a
thread's own, so a process is started *directly* inside, with no helper to supervise between it and us; and a socket
keeps the network namespace in which it was opened.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from topo import users, wait
from topo.environment import ENVIRONMENT
from topo.niceness import give_niceness
from topo.paths import private
from topo.users import UMASK, DaemonUser, HasUser, Rights

CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
# what nsenter calls the namespaces of a host, and the kernel their files
ENTERED = {"net": "net", "mount": "mnt", "uts": "uts", "ipc": "ipc"}
#: what root may do on a host: everything with its own files, processes and network, and nothing that reaches further;
#: with the kernel's numbers (linux/capability.h)
CAPABILITIES = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "net_broadcast": 11,
    "net_admin": 12,
    "net_raw": 13,
    "ipc_lock": 14,
    "ipc_owner": 15,
}
#: what root on a host may not do, and a daemon may whose service says so
BEYOND = {"sys_ptrace": 19}


def reduced(capabilities: Iterable[str], *more: str) -> tuple[str, ...]:
    """Words before a command: for good without any other capability."""
    kept = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    return ("setpriv", "--inh-caps=-all", *more, f"--bounding-set={kept}")


def limited(rights: Rights) -> tuple[str, ...]:
    """Words before a command: with these rights only, and no way to more."""
    if rights.user is None:
        return reduced(rights.capabilities, "--no-new-privs")
    own, kept = rights.user, ",".join(("-all", *(f"+{name}" for name in rights.capabilities)))
    ids = (f"--reuid={own.number}", f"--regid={own.number}", f"--groups={','.join(map(str, own.groups))}")
    return (
        *("setpriv", "--no-new-privs", *ids),
        *(f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}"),
    )


REDUCED = reduced(CAPABILITIES)
AHEAD = -10
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _entered(pid: int, kind: str, flag: int) -> Iterator[None]:
    """This thread (its children, for pid) belongs to another process's namespace for a while."""
    own = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY)
    try:
        other = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        try:
            _setns(other, flag)
        finally:
            os.close(other)
        try:
            yield
        finally:
            _setns(own, flag)
    finally:
        os.close(own)


def _setns(descriptor: int, flag: int) -> None:
    if _libc.setns(descriptor, flag):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def enter(pid: int) -> list[str]:
    """Words before a command that is to run on a host as the host's own, given its init process in the box."""
    return ["nsenter", f"--target={pid}", *(f"--{kind}" for kind in ENTERED), "--pid", "--root", "--wd", "--", *REDUCED]


def put_ahead(process: subprocess.Popen[Any]) -> None:
    """Let what measures not wait for what it measures; a host itself has no right to, and an ordinary user neither."""
    give_niceness(process.pid, AHEAD)


class Inside:
    """The inside of one host: ``pid`` is its init process, ``home`` its private files as the box sees them.

    ``pid`` None means the box itself, where Open vSwitch and the controller run.
    """

    def __init__(self, name: str, pid: int | None, home: Path) -> None:
        self.name = name
        self.pid = pid
        self.home = home

    def path(self, path: str) -> Path:
        """The path in the box of a file that the host sees as ``path``, below one of its own folders."""
        return Path(path) if self.pid is None else private(self.home, path)

    def popen(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = False,
        rights: Rights | None = None,
    ) -> subprocess.Popen[Any]:
        """Start a process inside, in its own session; its pid is the process's own.

        ``rights``: a daemon's; without, all that root has on a host.
        """
        options: dict[str, Any] = {
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "text": text,
            "env": {**ENVIRONMENT, **(environment or {})},
            "start_new_session": True,
            "cwd": "/",
        }
        if self.pid is None:
            return subprocess.Popen(list(argv), **options)
        # by file, not by --target: nsenter 2.41 takes that for a number in the pid namespace that it is in already
        spaces = [f"--{kind}=/proc/{self.pid}/ns/{file}" for kind, file in ENTERED.items()]
        spaces += [f"--{kind}=/proc/{self.pid}/root" for kind in ("root", "wd")]
        words = REDUCED if rights is None else limited(rights)
        options |= {} if rights is None else {"umask": UMASK}
        with _entered(self.pid, "pid", CLONE_NEWPID):
            return subprocess.Popen(["nsenter", *spaces, "--", *words, *argv], **options)

    def user(self, service: HasUser) -> DaemonUser | None:
        """The user as which a service runs here; None is root. What is in the box carries the hosts' packets."""
        return None if self.pid is None else users.of(service)

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = 30,
        environment: Mapping[str, str] | None = None,
        rights: Rights | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end. Raises DeadlineError, with the process killed."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = self.popen(argv, environment=environment, rights=rights, **streams)
        return wait.for_process(process, argv, seconds)

    def open_socket(self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> socket.socket:
        """A new socket (IPv4 unless told otherwise) that sends and listens inside."""
        if self.pid is None:
            return socket.socket(family, kind)
        with _entered(self.pid, "net", CLONE_NEWNET):
            return socket.socket(family, kind)

    def sysctl(self, name: str, value: int) -> None:
        """Set one of the kernel's network settings inside, such as ``ipv4/tcp_orphan_retries``."""
        assert self.pid is not None
        with _entered(self.pid, "net", CLONE_NEWNET):
            Path(f"/proc/sys/net/{name}").write_text(str(value))

    def connect(self, port: int, address: str = "127.0.0.1", seconds: float = 1) -> socket.socket:
        """A TCP connection from inside; to the host itself unless told otherwise. Raises OSError."""
        connection = self.open_socket()
        connection.settimeout(seconds)
        try:
            connection.connect((address, port))
        except BaseException:
            connection.close()
            raise
        return connection
