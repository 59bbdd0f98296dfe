"""The overlays of a testbed: put into its controller's desired state, and lifted by the last that lets go of them.

Whatever puts a temporary rule on a switch does it here: faults, experiments, tests. The controller sends it, a barrier
confirms it, and the datapath has forgotten its earlier decisions before ``put`` or ``lift`` returns.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from controllers import northbound
from controllers import overlay as overlays
from controllers.overlay import Overlay
from services.controller import Controller, northbound_socket
from services.supervisor import Supervisor
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError, RefusedError
from topo.paths import BOX
from topo.plan import Plan

SECONDS = 10.0
#: the requests after which an overlay stands; after the others it does not
STAND = ("put", "block")


class Overlays:
    """Each overlay counts who wants it. What cannot be lifted while the controller is away is lifted by ``settle``."""

    def __init__(self, plan: Plan, supervisor: Supervisor, box: Inside, powerless: Container[str]) -> None:
        self._plan = plan
        self._socket = box.path(northbound_socket(plan))
        self._supervisor = supervisor
        self._box = box
        self._powerless = powerless
        self._holders: Counter[str] = Counter()
        self._owed: dict[str, Overlay] = {}
        self._lock = threading.RLock()

    @property
    def standing(self) -> tuple[Overlay, ...]:
        """All that are desired now, by any caller; read from the controller's file."""
        return Controller.overlays(self._box)

    def put(self, overlay: Overlay) -> None:
        """In force when this returns. Raises RefusedError, with nothing done, while the controller is away on purpose.

        Where it has died, the supervisor brings it back, and it is asked again.
        """
        with self._lock:
            if not self._holders[overlay.name] and self._owed.pop(overlay.name, None) is None:
                self._refuse_while_away(overlay)
                try:
                    self._ask(overlay, "put", overlay=overlay.as_dict())
                except BaseException:  # interrupted too: what may be in force is held by nothing
                    with suppress(FoobarError):
                        northbound.ask("lift", socket=self._socket, name=overlay.name)
                    raise
            self._holders[overlay.name] += 1

    def block(self, host: str, lasting: float, reason: str) -> None:
        """A host is blocked when this returns, for so many seconds: nothing holds it (controllers/blocks.py)."""
        wanted = overlays.block(self._plan, host)
        overlays.refuse_block(self._plan, wanted, self.standing)
        with self._lock:
            self._refuse_while_away(wanted)
            self._ask(wanted, "block", host=host, lasting=lasting, reason=reason)

    def unblock(self, host: str) -> None:
        """A host is blocked no longer, before its time. Raises RefusedError for one that is not."""
        wanted = overlays.block(self._plan, host)
        if wanted.name not in {overlay.name for overlay in self.standing}:
            raise RefusedError(f"unblock {host}: it is not blocked; `blocks` shows those that are")
        with self._lock:
            self._refuse_while_away(wanted)
            self._ask(wanted, "unblock", host=host)

    @contextmanager
    def without_blocks(self) -> Iterator[None]:
        """In this block nobody is blocked; who was before is again afterwards, for the rest of his time."""
        blocks = [overlay for overlay in self.standing if overlay.kind == "block"]
        for overlay in blocks:
            self._ask(overlay, "lift", name=overlay.name)
        try:
            yield
        finally:
            for overlay in blocks:
                if overlay.until is None or overlay.until > time.time():
                    self._ask(overlay, "put", overlay=overlay.as_dict())

    def lift(self, overlay: Overlay) -> None:
        """In force no longer, when nothing else holds it; with the controller away, as soon as it is back."""
        with self._lock:
            self._holders[overlay.name] -= 1
            if self._holders[overlay.name]:
                return
            if self._away():
                self._owed[overlay.name] = overlay
            else:
                self._ask(overlay, "lift", name=overlay.name)

    @contextmanager
    def above(self, overlay: Overlay) -> Iterator[None]:
        """In this block the overlay is in force."""
        self.put(overlay)
        try:
            yield
        finally:
            self.lift(overlay)

    def settle(self) -> None:
        """The controller is back: lift what was to be lifted meanwhile."""
        with self._lock:
            while self._owed:
                name, overlay = self._owed.popitem()
                self._ask(overlay, "lift", name=name)

    def _away(self) -> bool:
        unit = self._supervisor.unit(f"{BOX}/{Controller.role}")
        return unit.paused or not unit.wanted

    def _refuse_while_away(self, overlay: Overlay) -> None:
        if self._away():
            raise RefusedError(f"{overlay.name}: the controller is away on purpose; heal that first")

    def _ask(self, wanted: Overlay, request: str, **words: Any) -> None:
        """Ask until it is done: a controller that has just died is back soon. A switch without power gets it later."""

        def look() -> str | None:
            try:
                northbound.ask(request, socket=self._socket, **words)
            except RefusedError as error:
                desired = (wanted.name in {overlay.name for overlay in self.standing}) == (request in STAND)
                return None if desired and wanted.match.switch in self._powerless else str(error)
            return None

        wait.until(look, what=f"{request} {wanted.name}", seconds=SECONDS)
