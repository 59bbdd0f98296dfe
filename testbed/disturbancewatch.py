"""A watch for what is done past the testbed while an experiment measures, by ``exec`` say: it is seen by its effect.

A daemon that stands still, a link that is down, a host that is blocked, flows that no controller put there; the
supervisor sees daemons end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from testbed.core import TestbedCore
from testbed.disturbances import SEEN
from topo.wiring import Link

EVERY = 0.25
#: the kernel tells of a carrier that is back no more often than once a second
CARRIER_SECONDS = 1.5


class DisturbanceWatch:
    """Notes, a few times a second while it is entered, what is done to a testbed past its own requests.

    ``blocks``: they are part of what is measured.
    """

    def __init__(self, testbed: TestbedCore, *, blocks: bool = False) -> None:
        self._testbed = testbed
        self._with_blocks = blocks
        self._over = threading.Event()
        self._seen: set[str] = set()
        self._down: dict[Link, float] = {}

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True, name="disturbances")
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(OSError):  # a testbed that breaks has another error to tell
            self.look()
            self._note(self._flows())

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            with suppress(OSError):
                self.look()

    def look(self) -> None:
        """One look. What lasts is noted once."""
        self._note((*self._halted(), *self._links(), *self._blocks()))

    def _note(self, seen: Iterable[str]) -> None:
        for what in seen:
            if what not in self._seen:
                self._seen.add(what)
                self._testbed.disturbances.note(SEEN, what)

    def _halted(self) -> Iterator[str]:
        for unit in self._testbed.supervisor.units:
            if unit.stands_still and not unit.paused:
                yield f"{unit.service.id} stands still"

    def _links(self) -> Iterator[str]:
        """A link whose switch's end is down, or which has had no carrier for longer than one that was just mended."""
        now, disturbed = time.monotonic(), self._testbed.links.disturbed()
        self._down = {link: self._down.get(link, now) for link in disturbed}
        for link, since in self._down.items():
            if disturbed[link] or now - since > CARRIER_SECONDS:
                yield f"link {link.a.node} - {link.b.node} is down"

    def _blocks(self) -> Iterator[str]:
        for overlay in () if self._with_blocks else self._testbed.overlays.standing:
            if overlay.kind == "block":
                yield f"{overlay.match.src} is blocked: {overlay.reason}"

    def _flows(self) -> Iterator[str]:
        testbed = self._testbed
        if not testbed.active_faults.status():
            for switch in testbed.plan.switches:
                if different := testbed.flow_differences(switch.name):
                    yield f"flows of {different}"
