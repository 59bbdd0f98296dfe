"""A testbed: everything of one www.foobar.com, booted in parallel and undone in reverse. Runs inside a box."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from controllers import denied, jsonsocket
from services.controller import denied_events
from services.failover import manager
from testbed import recovery, steady
from testbed.bootsequence import BootSequence
from testbed.core import Mark, TestbedCore
from testbed.rollout import PolicyRollout
from topo.errors import UsageError
from topo.paths import BOX
from topo.plan import MONITOR
from topo.profile import Profile

MOST_EVENTS = 1000


class Testbed(TestbedCore):
    """``with Testbed(profile, home) as testbed``: booted, joined and steady; or an error, and nothing left.

    ``mark`` is told (what, phase, seconds since the boot began) as parts of the boot are done. ``broken`` is told,
    from another thread, when Open vSwitch dies: without it there is no testbed.
    """

    def __init__(
        self,
        profile: Profile,
        home: Path,
        *,
        mark: Mark = lambda *_: None,
        began: float | None = None,
        broken: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(profile, home, mark, began)
        self.steady = steady.Steady(())
        self._broken = broken
        self._undo = ExitStack()

    def __enter__(self) -> Testbed:
        try:
            self.steady = BootSequence(self, self._undo, self._broken).run()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def status(self) -> dict[str, Any]:
        """The content of ``status --json``: steady as at the last look, unless a service has left its state since."""
        return {
            "steady": self.steady.holds and all(unit.state == "ready" for unit in self.supervisor.units),
            "datapath": self.datapath,
            "hosts": {host.name: {"ip": host.ip, "zone": host.zone} for host in self.plan.hosts},
            "services": self.supervisor.status(),
            "failures": dict(self.failures),
            "overlays": [overlay.as_dict() for overlay in self.overlays.standing],
            "unsampled": self.unsampled,
            "faults": self.active_faults.status(),
        }

    def look(self) -> steady.Steady:
        """Look whether the testbed is in its steady state, and remember it."""
        self.steady = steady.look(self)
        return self.steady

    def denied(self, after: float = 0.0) -> list[dict[str, Any]]:
        """The events of denied packets that were written after that time, at most the newest thousand."""
        return list(deque(denied.read(self.insides[BOX].path(denied_events(self.plan)), after), MOST_EVENTS))

    @cached_property
    def rollout(self) -> PolicyRollout:
        """The policy: shown, proved, and replaced while the testbed runs."""
        return PolicyRollout(self)

    def restart(self, *service_ids: str) -> None:
        """Start what does not run of these services; returns when all are ready and joined (recovery.py)."""
        recovery.restart(self, *service_ids)

    def resume(self, service_id: str) -> None:
        """Let a frozen service go on; returns when it serves (recovery.py)."""
        recovery.resume(self, service_id)

    def switch_over(self, host: str) -> Any:
        """Another server takes the writes, planned. Raises UsageError or RefusedError when it cannot be."""
        if not self.profile.managed:
            raise UsageError(f"switchover {host}: --db {self.profile.db} has no manager; async and semisync have one")
        asked = self.insides[self.plan.host_of(MONITOR).name].path(manager.ASK)
        return jsonsocket.exchange(asked, "the failover manager", "switchover", host=host)
