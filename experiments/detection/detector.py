"""The detector of a testbed as a fixture: away, back with nothing remembered, or spoilt on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controllers import northbound
from experiments.detection.lookout import blocked_now, lift
from services.controller import northbound_socket
from services.detection.sentinel import Sentinel
from topo import plan as roles
from topo.errors import RefusedError
from topo.paths import BOX

if TYPE_CHECKING:
    from testbed.testbed import Testbed

LATE_SECONDS, EAGER_SECONDS = 2.5, 1.0


@dataclass
class DetectorFixture:
    """``spoilt``: ``deaf`` never runs while it should, ``late`` sleeps at first, ``eager`` blocks who is honest."""

    testbed: Testbed
    spoilt: str = "nothing"

    @property
    def there(self) -> bool:
        """False in a design without one."""
        return bool(self._ids)

    @property
    def _ids(self) -> list[str]:
        return [unit.service.id for unit in self.testbed.supervisor.units if unit.service.role == Sentinel.role]

    @contextmanager
    def away(self) -> Iterator[None]:
        """In this block nobody watches; it comes back knowing nothing, and nobody is blocked."""
        self.stop()
        try:
            yield
        finally:
            self.fresh()

    def stop(self) -> None:
        for service_id in self._ids:
            with suppress(RefusedError):  # it does not run
                self.testbed.supervisor.stop(service_id)
        lift(self.testbed, blocked_now(self.testbed))

    def fresh(self) -> None:
        """It begins anew, with nobody blocked."""
        self.stop()
        if self.spoilt != "deaf":
            self.testbed.restart(*self._ids)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In this block it watches, or does what it is spoilt to do."""
        if self.spoilt != "late" or not self.there:
            yield
            return
        for service_id in self._ids:
            self.testbed.supervisor.pause(service_id)
        awake = threading.Timer(LATE_SECONDS, self._wake)
        awake.start()
        try:
            yield
        finally:
            awake.join()

    def _wake(self) -> None:
        for service_id in self._ids:
            self.testbed.resume(service_id)

    def blame(self) -> None:
        """``eager``: the honest visitors' host is blocked, as if it had attacked."""
        if self.spoilt == "eager":
            client = self.testbed.plan.host_of(roles.CLIENT).name
            socket = self.testbed.inside(BOX).path(northbound_socket(self.testbed.plan))
            northbound.ask("block", socket=socket, host=client, reason="to see it found out")
            time.sleep(EAGER_SECONDS)
            lift(self.testbed, [client])
