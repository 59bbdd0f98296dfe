"""A lookout on the monitoring host: every block as it comes and goes, and every event of the detector."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from controllers import northbound
from experiments.detection.evidence import BlockedWhile
from services.controller import northbound_socket
from services.detection import sentinel
from services.failover.events import Events
from topo import plan as roles
from topo.errors import FoobarError
from topo.paths import BOX

if TYPE_CHECKING:
    from testbed.testbed import Testbed

EVERY = 0.004


class Lookout:
    """``with Lookout(testbed) as lookout``: ``blocks`` and ``events`` since then; ``at``: when one was found."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self._log = Events(testbed.inside(testbed.plan.host_of(roles.MONITOR).name).path(sentinel.LOG))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="lookout")
        self.blocks: list[BlockedWhile] = []
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def blocked(self, host: str, since: float) -> float | None:
        """When a host was blocked first after that time."""
        return min(
            (block["began"] for block in self.blocks if block["host"] == host and block["began"] >= since), default=None
        )

    def named(self, host: str, since: float) -> dict[str, Any] | None:
        """The first event after that time that names a host."""
        return next((event for event in self.events if event["source"] == host and event["at"] >= since), None)

    def blamed(self, since: float) -> set[str]:
        """All hosts that were blocked or named since then."""
        blocked = {block["host"] for block in self.blocks if block["began"] >= since}
        return blocked | {str(event["source"]) for event in self.events if event["at"] >= since}

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            with suppress(OSError, ValueError):  # a file that is being replaced
                self._look()

    def _look(self) -> None:
        now, standing = time.time(), blocked_now(self._testbed)
        for block in self.blocks:
            if block["ended"] is None and block["host"] not in standing:
                block["ended"] = now
        known = {block["host"] for block in self.blocks if block["ended"] is None}
        self.blocks += [{"host": host, "began": now, "ended": None} for host in standing - known]
        self.events += [{**event, "at": event.get("found", now)} for event in self._log.take() if "source" in event]


def blocked_now(testbed: Testbed) -> set[str]:
    """The hosts that are blocked."""
    return {overlay.match.src for overlay in testbed.overlays.standing if overlay.kind == "block"}


def lift(testbed: Testbed, hosts: Iterable[str]) -> None:
    """End the blocks of these hosts, whoever asked for them."""
    socket = testbed.inside(BOX).path(northbound_socket(testbed.plan))
    for host in hosts:
        with suppress(FoobarError):  # it has just ended by itself
            northbound.ask("unblock", socket=socket, host=host)
