"""A testbed: everything of one www.foobar.com, booted in parallel and undone in reverse. Runs inside a box."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from controllers import denied, jsonsocket
from services.controller import denied_events
from services.failover import manager
from services.unit import Unit
from testbed import monitored, recovery, steady
from testbed.bootsequence import BootSequence
from testbed.core import Mark, TestbedCore
from testbed.disturbancewatch import DisturbanceWatch
from testbed.pausing import blocks_paused
from testbed.rollout import PolicyRollout
from topo import wait
from topo.errors import DeadlineError, UsageError
from topo.paths import BOX
from topo.plan import MONITOR
from topo.profile import Profile

MOST_EVENTS = 1000
#: a look that was under way when measuring began has ended by then
LOOK_SECONDS = 3.0
#: the state of a service that a person has started again
BY_HAND = "by hand"


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
        self._broken = broken
        self._undo = ExitStack()

    def __enter__(self) -> Testbed:
        try:
            BootSequence(self, self._undo, self._broken).run()
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def status(self, seconds: float = steady.SECONDS) -> dict[str, Any]:
        """The content of ``status --json``, after a new look at everything."""
        alerts = self.pool.submit(monitored.status, self)
        looked = self.look(seconds)
        rows = [{**unit.row(), "state": _state(unit)} for unit in self.supervisor.units]
        return {
            **looked.as_dict(),
            "datapath": self.datapath,
            "hosts": {host.name: {"ip": host.ip, "zone": host.zone} for host in self.plan.hosts},
            "services": rows,
            "failures": dict(self.failures),
            "overlays": [overlay.as_dict() for overlay in self.overlays.standing],
            "unsampled": self.unsampled,
            "faults": self.active_faults.status(),
            **alerts.result(),
        }

    def look(self, seconds: float = steady.THOROUGH_SECONDS, *, own: bool = False) -> steady.Steady:
        """Look whether the testbed is in its steady state now; for some seconds at most.

        ``own``: it is the experiment that measures which looks, and so knows what is sent.
        """
        return steady.look(self, seconds, own=own)

    @contextmanager
    def measuring(self, experiment: str, *, blocks: bool = False) -> Iterator[Callable[[str], None]]:
        """In this block an experiment measures: no look sends what it could see, and none is under way.

        ``blocks``: hosts that are blocked are a part of it, and disturb nothing; else detection blocks none meanwhile.
        Gives something to be told the name of each phase.
        """
        self.measured = experiment
        self.publication.measure(experiment)
        try:
            with suppress(DeadlineError):
                wait.until(lambda: "a look" if self.looks else None, what="no look", seconds=LOOK_SECONDS)
            with nullcontext() if blocks else blocks_paused(self), DisturbanceWatch(self, blocks=blocks):
                yield lambda phase: self.publication.measure(experiment, phase)
        finally:
            self.measured = ""
            self.publication.measure("")

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


def _state(unit: Unit) -> str:
    """A service's state for people: one that they have started themselves has ended, and serves."""
    return BY_HAND if unit.restarted_by_hand else unit.state
