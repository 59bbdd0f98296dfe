"""A unit: a service on its host, with the process it has now."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from services import logfiles
from services.processsession import ProcessSession, state_of
from services.service import Command, Look, Service, below
from topo import folders, users
from topo.errors import DeadlineError, ServiceError, UsageError
from topo.niceness import give_niceness
from topo.paths import PRIVATE
from topo.users import DaemonUser, Rights

TAIL_LINES = 15
TAIL_BYTES = 2**16
CHECK_SECONDS = 60
WAITING = "waiting"
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
#: how a daemon ends that was asked to, or killed: in order, by the signal, or with a shell's word for it
FROM_OUTSIDE = (0, *(-number for number in ASKED), *(128 + number for number in ASKED))


class ServiceHost(Look, Protocol):
    """The host on which a service runs (testbed.namespaces.Inside, or a fake in tests)."""

    def popen(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = ...,
        stdout: Any = ...,
        stderr: Any = ...,
        rights: Rights | None = ...,
    ) -> subprocess.Popen[Any]: ...

    def run(
        self,
        argv: Sequence[str],
        *,
        seconds: float = ...,
        environment: Mapping[str, str] | None = ...,
        rights: Rights | None = ...,
    ) -> subprocess.CompletedProcess[str]: ...

    def user(self, service: Service) -> DaemonUser | None: ...


#: of what comes after the others
NICENESS = 10
#: a log is its daemon's, and for the shipper to read
LOG_MODE = 0o640


def _top(path: str) -> str:
    """The folder, right below one of a host's own, in which something lies."""
    base = next(base for base in PRIVATE if path.startswith(f"{base}/"))
    return f"{base}/{path.removeprefix(f'{base}/').partition('/')[0]}"


@dataclass
class Unit:
    """A service and the process it has now. Times are seconds since the boot began.

    ``extra``: what its environment has beside the service's own, from the next start on. ``ending``: how it was ended,
    once it is no longer wanted. ``mourned``: the pid of the last process whose unasked end was told.
    """

    service: Service
    place: ServiceHost
    process: subprocess.Popen[Any] | None = None
    wanted: bool = False
    paused: bool = False
    ending: str = "stopped"
    times: dict[str, float] = field(default_factory=dict)
    restarts: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
    mourned: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def state(self) -> str:
        if self.process is None:
            return "configured" if "configured" in self.times else "new"
        if self.process.poll() is not None:
            return self.ending if not self.wanted else "died"
        if self.paused:
            return "paused"
        return "ready" if "ready" in self.times else "started"

    @property
    def restarted_by_hand(self) -> bool:
        """True if nothing is left of its process, and a person has started another one that serves.

        What comes back by itself is never looked for like this: its own process is on the way.
        """
        if self.process is None or self.process.poll() is None or self.service.restarts:
            return False
        return not self.session.processes() and self.service.ready(self.place) is None

    @property
    def halted(self) -> str | None:
        """None unless one of its processes stands still (SIGSTOP)."""
        states = self.session.processes() if self.runs else {}
        return next((f"pid {pid} is stopped" for pid, state in states.items() if state in "Tt"), None)

    @property
    def session(self) -> ProcessSession:
        assert self.process is not None
        return ProcessSession(self.process)

    @property
    def stands_still(self) -> bool:
        """True if its first process was stopped (SIGSTOP)."""
        return self.runs and self.process is not None and state_of(self.process.pid) in ("T", "t")

    def ended_unasked(self) -> str | None:
        """Told once of each process: how it was ended from outside. One that crashes by itself was not."""
        process = self.process
        if process is None or self.state != "died" or self.mourned == process.pid:
            return None
        self.mourned = process.pid
        return self.last_words if process.returncode in FROM_OUTSIDE else None

    @property
    def last_words(self) -> str:
        """The way in which its process ended, in words."""
        if self.process is None or self.process.returncode is None:
            return "never started"
        code = self.process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def row(self) -> dict[str, Any]:
        """Its row of ``Supervisor.status``."""
        return {
            "id": self.service.id,
            "host": self.service.host,
            "role": self.service.role,
            "product": self.service.product,
            "state": self.state,
            "pid": self.process.pid if self.process else None,
            "restarts": self.restarts,
            "times": dict(self.times),
        }

    def write(self) -> None:
        """Make its directories and files."""
        for directory in self.service.directories():
            self.place.path(directory).mkdir(parents=True, exist_ok=True)
        for file in self.service.files():
            path = self.place.path(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, file.mode)
            with open(descriptor, "w") as stream:
                stream.write(file.text)
        self._own()

    def _own(self) -> None:
        """Its folders and logs are its user's, whoever has made something there; each log is there."""
        user = self.place.user(self.service)
        paths = (*self.service.directories(), *(file.path.rpartition("/")[0] for file in self.service.files()))
        for folder in dict.fromkeys(map(_top, paths)) if user else ():
            users.give(self.place.path(folder), user)
        for log in (*self.service.logs, *self.service.local_logs):
            with suppress(OSError, UsageError):  # no room, or no plain file on the host
                place, name = below(self.place, log, make=True)
                with os.fdopen(place.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as stream:
                    os.fchmod(stream.fileno(), LOG_MODE)
                    if user:
                        os.fchown(stream.fileno(), user.number, user.number)

    @property
    def rights(self) -> Rights:
        service, user = self.service, self.place.user(self.service)
        return Rights(service.capabilities if user else (*service.capabilities, *service.as_root), user)

    def check(self) -> None:
        """Run the daemon's own checks of its files. Raises ServiceError."""
        for command in self.service.checks():
            program = command[0].rsplit("/", 1)[-1]
            result = self._run(command)
            if result.returncode:
                raise ServiceError(
                    f"{self.service.id}: {program} refuses its configuration",
                    detail=(result.stdout + result.stderr).strip(),
                )

    def _run(self, command: Command) -> subprocess.CompletedProcess[str]:
        try:
            return self.place.run(
                command, seconds=CHECK_SECONDS, environment=self.service.environment, rights=self.rights
            )
        except FileNotFoundError:
            raise ServiceError(f"{self.service.id}: {command[0]} is not installed") from None
        except DeadlineError as error:
            raise ServiceError(f"{self.service.id}: checking its configuration: {error}") from None

    def spawn(self) -> None:
        """Start its process. What a crash of the one before has left over is ended first."""
        self.end()
        self.times.pop("ready", None)
        self._own()
        folder, name = below(self.place, self.service.output, make=True)
        with os.fdopen(folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as log:
            self.process = self.place.popen(
                self.service.command(),
                environment={**self.service.environment, **self.extra},
                stdout=log,
                stderr=subprocess.STDOUT,
                rights=self.rights,
            )
        if self.service.background:
            give_niceness(self.process.pid, NICENESS)

    def end(self) -> None:
        """Kill the processes that are left of it, if any, and return when there is none."""
        if self.process is not None:
            self.session.end(self.service.id)

    def written(self, log: str, most: int = folders.DATA_BYTES) -> bytes:
        """The end of one of its logs, so many bytes; none of what is no plain file on the host, or is not there."""
        with suppress(UsageError):
            folder, name = below(self.place, log)
            return folder.end(name, most)
        return b""

    def rotate_logs(self) -> None:
        """Begin each of its logs anew that is full."""
        for log in (*self.service.logs, *self.service.local_logs):
            with suppress(OSError, UsageError):  # not there yet, or no plain file on the host
                logfiles.rotate(*below(self.place, log))

    def tail(self, lines: int = TAIL_LINES, without: str = "") -> str:
        """The last lines of each of its logs, each under its name; ``without`` those that have this in them."""
        parts = []
        for log in self.service.logs:
            end = self.written(log, TAIL_BYTES)
            if end.count(b"\n") < lines:
                end = self.written(logfiles.before(log), TAIL_BYTES) + end
            rows = end.decode(errors="replace").splitlines()
            if text := [row for row in rows if not without or without not in row][-lines:]:
                parts.append("\n".join([f"--- {self.service.host}:{log}", *text]))
        return "\n".join(parts)
