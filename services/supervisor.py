"""The one place that starts, waits for, stops, kills and pauses services."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from services.service import Prepares, Service
from services.unit import WAITING, ServiceHost, Unit
from topo import wait
from topo.errors import DeadlineError, RefusedError, ServiceError, UsageError

STOP_SECONDS = 5.0
#: between two tries to bring back what ends again and again
PAUSE_S = 1.0


class Supervisor:
    """Owns every service's process. ``mark`` is called with (service id, phase, seconds since ``began``).

    ``bereaved`` is told of each process that was ended by something else than this.
    """

    def __init__(
        self,
        mark: Callable[[str, str, float], None] = lambda *_: None,
        began: float | None = None,
        bereaved: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._units: dict[str, Unit] = {}
        self._bereaved = bereaved
        self._mark = mark
        self._began = time.monotonic() if began is None else began

    def add(self, service: Service, place: ServiceHost) -> None:
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
            unit.write()
        distinct = {(unit.service.configuration(), unit.service.checks()): unit for unit in units}
        with ThreadPoolExecutor(max_workers=16) as pool:
            preparing = [
                pool.submit(unit.service.prepare, unit.place) for unit in units if isinstance(unit.service, Prepares)
            ]
            for done in (*preparing, *[pool.submit(unit.check) for unit in distinct.values()]):
                done.result()
        for unit in units:
            self._note(unit, "configured")

    def start(self, service_id: str) -> None:
        """Start the process; it may not serve yet. Raises RefusedError when it runs already."""
        unit = self.unit(service_id)
        with unit.lock:
            if unit.process is not None and unit.runs:
                raise RefusedError(f"{service_id} is running already (pid {unit.process.pid})")
            unit.paused = False
            self.mourn(unit)
            unit.spawn()
            unit.wanted = True  # not before: in between it would count as died
        self._note(unit, "started")

    def wait_ready(self, service_id: str) -> None:
        """Return when it serves. Raises ServiceError, with its log's tail, when it dies or takes too long."""
        unit = self.unit(service_id)

        def look() -> str | None:
            if unit.process is None or unit.process.poll() is not None:
                raise ServiceError(f"{service_id} died while starting ({unit.last_words})", detail=unit.tail())
            return unit.service.ready(unit.place)

        try:
            wait.until(look, what=f"{service_id} ready", seconds=unit.service.patience)
        except DeadlineError as error:
            raise ServiceError(str(error), detail=unit.tail()) from None
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
            unit.end()

    def kill(self, *service_ids: str) -> None:
        """End them as a crash would, at the same time: SIGKILL to all of their processes, no shutdown.

        Returns when none of these processes is left, so that their sockets are closed.
        """
        with ExitStack() as held:
            units = [held.enter_context(self._running(service_id)) for service_id in service_ids]
            for unit in units:
                unit.wanted, unit.ending = False, "killed"
                unit.session.signal(signal.SIGKILL)
            for unit in units:
                unit.end()

    def pause(self, service_id: str) -> None:
        """Freeze it (SIGSTOP): its sockets stay open and give no answer. Returns when all of it stands still."""
        with self._running(service_id) as unit:
            unit.paused = True
            unit.session.freeze(service_id)

    def resume(self, service_id: str) -> None:
        with self._running(service_id) as unit:
            unit.session.signal(signal.SIGCONT)
            unit.paused = False

    def mourn(self, unit: Unit) -> None:
        """Tell, once, that a person has ended it."""
        if last_words := unit.ended_unasked():
            self._bereaved(f"{unit.service.id} ended ({last_words})")

    def rotate_logs(self) -> None:
        """Begin every log anew that is full; called from time to time."""
        for unit in self.units:
            unit.rotate_logs()

    def revive(self) -> None:
        """Start again what ended unasked after it had served, and is declared to come back; called from time to time.

        A later call notices that it serves: until then it counts as started, not as ready.
        """
        for unit in self.units:
            self.mourn(unit)
            if not unit.service.restarts:
                continue
            if unit.lock.acquire(blocking=False):  # else another thread works on it: the next call will see
                try:
                    self._revive(unit)
                finally:
                    unit.lock.release()
            if unit.state == "started" and unit.restarts and unit.service.ready(unit.place) is None:
                self._note(unit, "ready")

    def _revive(self, unit: Unit) -> None:
        """The first time at once, then after a pause: what ends it may last, as a disk without room does."""
        ran = time.monotonic() - self._began - unit.times.get("started", 0.0)
        if unit.state == "died" and (ran >= PAUSE_S if unit.restarts else "ready" in unit.times):
            unit.restarts += 1
            unit.spawn()
            self._note(unit, "started")

    def check_alive(self) -> None:
        """Raise ServiceError, with its log's tail, when something has ended unasked and does not come back."""
        for unit in self.units:
            if unit.state == "died" and not unit.service.restarts:
                raise ServiceError(f"{unit.service.id} died ({unit.last_words})", detail=unit.tail())

    def stop_all(self) -> None:
        """Kill everything, last started first; for the end of a testbed."""
        for unit in reversed(self.units):
            unit.wanted = False
            if unit.runs:
                unit.end()

    def status(self) -> list[dict[str, Any]]:
        """One row per service: id, host, role, product, state, pid, restarts, and when it reached each phase (s)."""
        return [unit.row() for unit in self.units]

    @contextmanager
    def _running(self, service_id: str) -> Iterator[Unit]:
        """A unit that runs, for this thread alone. Raises RefusedError when it does not run."""
        unit = self.unit(service_id)
        with unit.lock:
            if not unit.runs:
                raise RefusedError(f"{service_id} is not running")
            yield unit

    def _note(self, unit: Unit, phase: str) -> None:
        unit.times[phase] = time.monotonic() - self._began
        self._mark(unit.service.id, phase, unit.times[phase])
