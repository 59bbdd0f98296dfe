"""A service: the description of one daemon on one host. It runs nothing itself.

    files()    what to write, rendered; nothing of it depends on a running network
    checks()   the daemon's own tests of those files; all services' checks pass before anything starts
    command()  how to start it in the foreground, so that the process is ours
    ready()    one cheap look from outside: None when it serves, else what was seen

Some services can do more; those that cannot simply do not have the method (the small protocols below).
"""

from __future__ import annotations

import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from topo import folders
from topo.folders import Folder
from topo.paths import BOX, PRIVATE

Command = tuple[str, ...]

# Where services that run on no host keep their output
BOX_LOGS = "/run/foobar/log"

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **values: object) -> str:
    """A template's text. Raises jinja2.UndefinedError for a missing value, never renders it as nothing."""
    return TEMPLATES.get_template(template).render(**values)


@dataclass(frozen=True)
class File:
    """A file as the host sees it; 0600 for what no other user may read."""

    path: str
    text: str
    mode: int = 0o644


class Look(Protocol):
    """The means with which ``ready`` looks at a daemon (testbed.namespaces.Inside, or a fake in tests)."""

    def path(self, path: str) -> Path: ...

    def connect(self, port: int, address: str = ..., seconds: float = ...) -> socket.socket: ...


def below(place: Look, path: str, *, make: bool = False) -> tuple[Folder, str]:
    """The folder and the name of a host's file, as the box opens it: root of a host may have put links there."""
    base = next(base for base in PRIVATE if path.startswith(f"{base}/"))
    return folders.within(place.path(base), path.removeprefix(f"{base}/"), make=make)


class Service(ABC):
    """One daemon on one host. Subclasses are plain values: everything comes in through ``__init__``."""

    #: its task: the second part of its id
    role: str
    #: the program that does it, where that has a name of its own: its log's name, and understood on command lines
    product = ""
    #: other names that are understood
    aliases: tuple[str, ...] = ()
    #: start again when it ends unasked; only for what the testbed itself needs
    restarts = False
    #: start when all others serve and the network carries packets: it judges them from its start on
    last = False
    #: all that its processes may do beside what every user may (capabilities(7), in lower case); on a host, where any
    #: port is anybody's
    capabilities: tuple[str, ...] = ()
    #: beside those, where it has no user of its own (topo/users.py)
    as_root: tuple[str, ...] = ()
    #: it only watches the host's other services: a fault hits it when it is named, and not else
    watches = False
    #: it works in the background: after all others where processors are scarce
    background = False
    #: seconds from start within which it must be ready
    patience = 20.0
    #: what ends it as an administrator would: it finishes what it has begun
    stop_signal = signal.SIGTERM

    def __init__(self, host: str) -> None:
        self.host = host

    @property
    def id(self) -> str:
        return f"{self.host}/{self.role}"

    def is_called(self, word: str) -> bool:
        """True if this word on a command line means it."""
        return word in (self.role, self.product, *self.aliases) and bool(word)

    @property
    def output(self) -> str:
        """The file of its standard output and error, as the host sees it."""
        return f"{BOX_LOGS if self.host == BOX else '/var/log'}/{self.product or self.role}.log"

    @property
    def logs(self) -> tuple[str, ...]:
        """Every log file it writes, the one that says why it died first."""
        return (self.output,)

    @property
    def local_logs(self) -> tuple[str, ...]:
        """Logs beside those, of so many lines that they stay where they are, and are searched there."""
        return ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The roles whose files its user may read as well, and whose sockets it may use."""
        return ()

    @property
    def environment(self) -> Mapping[str, str]:
        return {}

    def files(self) -> tuple[File, ...]:
        return ()

    def configuration(self) -> tuple[File, ...]:
        """Those of its files that its checks judge; data that every host has its own of may be left out."""
        return self.files()

    def directories(self) -> tuple[str, ...]:
        """Directories to make beside those of its files."""
        return ()

    def checks(self) -> tuple[Command, ...]:
        return ()

    @abstractmethod
    def command(self) -> Command: ...

    @abstractmethod
    def ready(self, look: Look) -> str | None: ...


@runtime_checkable
class Prepares(Protocol):
    """A service that needs more than text files before it starts (a data directory)."""

    def prepare(self, look: Look) -> None: ...


@runtime_checkable
class Joins(Protocol):
    """A service that takes its place among the others once all of them run (a replica)."""

    def join(self, look: Look) -> None: ...

    def joined(self, look: Look) -> str | None: ...


@runtime_checkable
class Gathers(Protocol):
    """A service that serves only in a group of its kind: one joins a group that is there, or all begin one together."""

    def gathered(self, look: Look) -> bool: ...

    def gather(self, look: Look) -> None: ...


@runtime_checkable
class Fails(Protocol):
    """A service that can be told to answer with errors (an application), and to stop doing so."""

    def fail(self, look: Look) -> None: ...

    def recover(self, look: Look) -> None: ...


def listens(look: Look, port: int, address: str = "127.0.0.1") -> str | None:
    """The look most daemons need: does it accept a TCP connection?"""
    try:
        look.connect(port, address, 0.5).close()
    except OSError as error:
        return f"port {port}: {error}"
    return None


def accepts(path: Path) -> str | None:
    """The same of a UNIX socket. One that an earlier process has left behind refuses, where a file of it would not."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            return f"{path}: {error}"
    return None
