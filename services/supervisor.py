"""The one place that starts, waits for, stops, kills and pauses services."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from services.service import Command, Look, Prepares, Service
from topo import wait
from topo.errors import DeadlineError, RefusedError, ServiceError, UsageError

TAIL_LINES = 15
STOP_SECONDS = 5.0
WAITING = "waiting"


class Place(Look, Protocol):
    """Where a service runs (testbed.namespaces.Inside, or a fake in tests)."""

    def popen(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = ...,
        stdout: Any = ...,
        stderr: Any = ...,
    ) -> subprocess.Popen[Any]: ...

    def run(
        self, argv: Sequence[str], *, seconds: float = ..., environment: Mapping[str, str] | None = ...
    ) -> subprocess.CompletedProcess[str]: ...


@dataclass
class Unit:
    """A service and the process it has now. Times are seconds since the boot began.

    ``extra``: what its environment has beside the service's own, from the next start on. ``ending``: how it was ended,
    once it is no longer wanted.
    """

    service: Service
    place: Place
    process: subprocess.Popen[Any] | None = None
    wanted: bool = False
    paused: bool = False
    ending: str = "stopped"
    times: dict[str, float] = field(default_factory=dict)
    restarts: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)
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


class Supervisor:
    """Owns every service's process. ``mark`` is told (service id, phase, seconds since ``began``) as things happen."""

    def __init__(self, mark: Callable[[str, str, float], None] = lambda *_: None, began: float | None = None) -> None:
        self._units: dict[str, Unit] = {}
        self._mark = mark
        self._began = time.monotonic() if began is None else began

    def add(self, service: Service, place: Place) -> None:
        self._units[service.id] = Unit(service, place)

    @property
    def units(self) -> tuple[Unit, ...]:
        return tuple(self._units.values())

    def unit(self, service_id: str) -> Unit:
        """The unit of that id (``host/role``). Raises UsageError, naming the possible ones."""
        if service_id not in self._units:
            raise UsageError(f"{service_id}: no such service; services: {', '.join(self._units)}")
        return self._units[service_id]

    def configure(self, services: Iterable[Service]) -> None:
        """Write every file, then run every daemon's own check. Raises ServiceError before anything has started.

        A configuration that several servers have word for word is checked once.
        """
        units = [self.unit(service.id) for service in services]
        for unit in units:
            _write(unit)
        distinct = {(unit.service.configuration(), unit.service.checks()): unit for unit in units}
        with ThreadPoolExecutor(max_workers=16) as pool:
            for done in [
                *(
                    pool.submit(unit.service.prepare, unit.place)
                    for unit in units
                    if isinstance(unit.service, Prepares)
                ),
                *(pool.submit(_check, unit) for unit in distinct.values()),
            ]:
                done.result()
        for unit in units:
            self._note(unit, "configured")

    def start(self, service_id: str) -> None:
        """Start the process; it may not serve yet. Raises RefusedError when it runs already.

        What a crash of its master has left over is ended first.
        """
        unit = self.unit(service_id)
        with unit.lock:
            if unit.process is not None and unit.runs:
                raise RefusedError(f"{service_id} is running already (pid {unit.process.pid})")
            _end_session(unit)
            unit.times.pop("ready", None)
            unit.wanted, unit.paused = True, False
            self._spawn(unit)
        self._note(unit, "started")

    def wait_ready(self, service_id: str) -> None:
        """Return when it serves. Raises ServiceError, with its log's tail, when it dies or takes too long."""
        unit = self.unit(service_id)

        def look() -> str | None:
            if unit.process is None or unit.process.poll() is not None:
                raise ServiceError(f"{service_id} died while starting ({_ending(unit)})", detail=tail(unit))
            return unit.service.ready(unit.place)

        try:
            wait.until(look, what=f"{service_id} ready", seconds=unit.service.patience)
        except DeadlineError as error:
            raise ServiceError(str(error), detail=tail(unit)) from None
        self._note(unit, "ready")

    def hold(self, service_id: str) -> None:
        """It is not started yet: it waits for others."""
        self.unit(service_id).ending = WAITING

    def launch(self, service_id: str) -> None:
        """Start it and wait until it serves."""
        self.start(service_id)
        self.wait_ready(service_id)

    def stop(self, service_id: str, seconds: float = STOP_SECONDS) -> None:
        """End it as an administrator would, and with SIGKILL if it has not ended in time."""
        with self._running(service_id) as unit:
            unit.wanted, unit.ending = False, "stopped"
            assert unit.process is not None
            unit.process.send_signal(unit.service.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                unit.process.wait(seconds)
            _end_session(unit)

    def kill(self, *service_ids: str) -> None:
        """End them as a crash would, at the same moment: SIGKILL to all of their processes, no good-bye.

        Returns when none of these processes is left, so that their sockets are closed.
        """
        with ExitStack() as held:
            units = [held.enter_context(self._running(each)) for each in service_ids]
            for unit in units:
                unit.wanted, unit.ending = False, "killed"
                _signal_session(unit, signal.SIGKILL)
            for unit in units:
                _end_session(unit)

    def pause(self, service_id: str) -> None:
        """Freeze it (SIGSTOP): its sockets stay open and nobody answers. Returns when all of it stands still."""
        with self._running(service_id) as unit:
            _signal_session(unit, signal.SIGSTOP)
            unit.paused = True
            wait.until(lambda: _moving(unit), what=f"{service_id} frozen", seconds=STOP_SECONDS, every=0.0005)

    def resume(self, service_id: str) -> None:
        with self._running(service_id) as unit:
            _signal_session(unit, signal.SIGCONT)
            unit.paused = False

    def revive(self) -> None:
        """Start again what ended unasked after it had served, and is declared to come back; called from time to time.

        A later call notices that it serves: until then it counts as started, not as ready.
        """
        for unit in self.units:
            if not unit.service.restarts:
                continue
            if unit.lock.acquire(blocking=False):  # somebody else is at it: the next call will see
                try:
                    if unit.state == "died" and ("ready" in unit.times or unit.restarts):
                        unit.restarts += 1
                        unit.times.pop("ready", None)
                        _end_session(unit)
                        self._spawn(unit)
                        self._note(unit, "started")
                finally:
                    unit.lock.release()
            if unit.state == "started" and unit.restarts and unit.service.ready(unit.place) is None:
                self._note(unit, "ready")

    def check_alive(self) -> None:
        """Raise ServiceError, with its log's tail, when something has ended unasked and does not come back."""
        for unit in self.units:
            if unit.state == "died" and not unit.service.restarts:
                raise ServiceError(f"{unit.service.id} died ({_ending(unit)})", detail=tail(unit))

    def stop_all(self) -> None:
        """Kill everything, last started first; for the end of a testbed."""
        for unit in reversed(self.units):
            unit.wanted = False
            if unit.runs:
                _end_session(unit)

    def status(self) -> list[dict[str, Any]]:
        """One row per service: id, host, role, product, state, pid, restarts, and when it reached each phase (s)."""
        return [
            {
                "id": unit.service.id,
                "host": unit.service.host,
                "role": unit.service.role,
                "product": unit.service.product,
                "state": unit.state,
                "pid": unit.process.pid if unit.process else None,
                "restarts": unit.restarts,
                "times": dict(unit.times),
            }
            for unit in self.units
        ]

    @contextmanager
    def _running(self, service_id: str) -> Iterator[Unit]:
        """A unit that runs, for this thread alone. Raises RefusedError when it does not run."""
        unit = self.unit(service_id)
        with unit.lock:
            if not unit.runs:
                raise RefusedError(f"{service_id} is not running")
            yield unit

    def _spawn(self, unit: Unit) -> None:
        output = unit.place.path(unit.service.output)
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as log:
            unit.process = unit.place.popen(
                unit.service.command(),
                environment={**unit.service.environment, **unit.extra},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _note(self, unit: Unit, phase: str) -> None:
        unit.times[phase] = time.monotonic() - self._began
        self._mark(unit.service.id, phase, unit.times[phase])


def tail(unit: Unit, lines: int = TAIL_LINES) -> str:
    """The last lines of each of a service's logs, each under its name."""
    parts = []
    for log in unit.service.logs:
        path = unit.place.path(log)
        if path.exists() and (text := path.read_text(errors="replace").splitlines()[-lines:]):
            parts.append("\n".join([f"--- {unit.service.host}:{log}", *text]))
    return "\n".join(parts)


def _write(unit: Unit) -> None:
    for directory in unit.service.directories():
        unit.place.path(directory).mkdir(parents=True, exist_ok=True)
    for file in unit.service.files():
        path = unit.place.path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, file.mode)
        with open(descriptor, "w") as stream:
            stream.write(file.text)


def _check(unit: Unit) -> None:
    for command in unit.service.checks():
        try:
            result = unit.place.run(command, seconds=60, environment=unit.service.environment)
        except FileNotFoundError:
            raise ServiceError(f"{unit.service.id}: {command[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"{unit.service.id}: {_program(command)} does not finish checking its configuration"
            ) from None
        if result.returncode:
            raise ServiceError(
                f"{unit.service.id}: {_program(command)} refuses its configuration",
                detail=(result.stdout + result.stderr).strip(),
            )


def _program(command: Command) -> str:
    return command[0].rsplit("/", 1)[-1]


def _ending(unit: Unit) -> str:
    if unit.process is None or unit.process.returncode is None:
        return "never started"
    code = unit.process.returncode
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _signal_session(unit: Unit, number: int) -> None:
    """To the daemon and its workers: each service leads a session, which is its process group."""
    assert unit.process is not None
    with suppress(ProcessLookupError):
        os.killpg(unit.process.pid, number)


def _end_session(unit: Unit) -> None:
    """Kill what is left of the unit's processes, if any, and return when nothing is."""
    if unit.process is None:
        return
    leader = unit.process.pid
    if unit.process.poll() is None or _session(leader):
        _signal_session(unit, signal.SIGKILL)
    unit.process.wait()
    look = lambda: ", ".join(f"pid {pid}" for pid in _session(leader)) or None  # noqa: E731
    wait.until(look, what=f"nothing left of {unit.service.id}", seconds=STOP_SECONDS, every=0.0005)


def _moving(unit: Unit) -> str | None:
    assert unit.process is not None
    moving = [pid for pid, state in _session(unit.process.pid).items() if state != "T"]
    return f"pid {moving[0]} runs" if moving else None


def _session(leader: int) -> dict[int, str]:
    """The living processes of a session -> their states; a zombie holds nothing any more."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return {}
    found = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):
                state, _, _, session = (each / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state not in "ZX":
                    found[int(each.name)] = state
    return found
