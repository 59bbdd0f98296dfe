"""A round: writers at work, one trouble, until writes are back or the window has passed; healing; accounts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.db_failover import nodes
from experiments.db_failover.checks import BEFORE
from experiments.db_failover.events import LOG, Events
from experiments.db_failover.gap import packed
from experiments.db_failover.rebuild import diverged, rebuild
from experiments.db_failover.spans import spans
from experiments.db_failover.trouble import Scene, Trouble, greets
from experiments.db_failover.writer import FAILED, OK, UNKNOWN
from experiments.db_failover.writers import THROUGH_THE_SITE, Write, Writers
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

#: acknowledged writes that show that the database takes writes
FLOWING = 10
#: how long writes flow before a fault, at least and at most (s)
FLOW = (0.05, 0.25)
#: for how long a second fault at once is left before healing (s)
IMPATIENT_SECONDS = 0.5
WHY = 120
FLOW_SECONDS, SETTLE_SECONDS, EQUAL_SECONDS = 15.0, 20.0, 5.0
#: what is kept of the manager's events beside their time and name
DETAILS = ("primary", "candidate", "server")


@dataclass
class Rounds:
    """What the rounds of one run share. ``window``: seconds for which is waited that writes come back."""

    testbed: Testbed
    writers: Writers
    random: random.Random
    mark: Callable[..., None]
    window: float
    events: Events = field(init=False)
    done: nodes.Accounted = field(default_factory=nodes.Accounted)

    def __post_init__(self) -> None:
        self.events = Events(self.testbed.inside("mon").path(LOG))

    def hold(self, number: int, trouble: Trouble) -> dict[str, Any]:
        """One round's evidence; writers go on afterwards. Raises DeadlineError when nobody can write any more."""
        scene = self._scene()
        apart = (scene.primary,) if trouble.stalls_host else ()
        silent = _problem(lambda: None if greets(self.testbed, scene.primary) else "silent", FLOW_SECONDS)
        self.mark("round", number=number, trouble=trouble.name, primary=scene.primary)
        time.sleep(self.random.uniform(*FLOW))
        with trouble.strike(scene):
            self._wait_until_back(
                scene, apart, min(self.window, IMPATIENT_SECONDS) if trouble.after_healing else self.window
            )
            healing = time.time()
        problem = self._settle()
        settled = time.time()
        _problem(lambda: self._few(self.writers.acknowledged(settled)), self.window)
        taken, found = self.account()
        self._mend(found["nodes"])
        return {
            "number": number,
            "trouble": trouble.name,
            "primary": scene.primary,
            "apart": list(apart),
            "greeted": silent is None,
            "proof": scene.proof,
            "began": scene.began,
            "healing": healing,
            "settled": settled,
            "problem": problem,
            "answers": _answers(taken, scene.began - BEFORE, apart),
            "owners": self._owners(taken),
            "events": [_short(event) for event in self.events.take()],
            **found,
        }

    def account(self) -> tuple[dict[str, list[Write]], dict[str, Any]]:
        """Quiet the writers, look at all nodes, let the writers go on: (what they were told, evidence of it)."""
        self.writers.pause()
        try:
            unequal = _problem(lambda: nodes.equal(self.testbed), EQUAL_SECONDS)
            taken = self.writers.take()
            found = nodes.read(self.testbed, self.writers.tag, self.writers.author, self.done)
        finally:
            self.writers.resume()
        self.done.row = min(node["last"] for node in found.values())
        self.done.numbers |= {name: max(write.number for write in heard) for name, heard in taken.items() if heard}
        return taken, {
            "writes": {name: _told(heard) for name, heard in taken.items()},
            "nodes": found,
            "unequal": unequal,
        }

    def _settle(self) -> str | None:
        """Wait until every node is in its place; what is wrong when one has been turned away, or it takes too long."""
        away: list[str] = []

        def unsettled() -> str | None:
            problem = nodes.following(self.testbed)
            away[:] = diverged(self.testbed) if problem else []
            return None if away else problem

        problem = _problem(unsettled, SETTLE_SECONDS)
        return f"turned away by the primary: {', '.join(away)}" if away else problem

    def _mend(self, found: dict[str, dict[str, Any]]) -> None:
        """Nodes that have gone their own way are made anew; nobody writes meanwhile."""
        away = diverged(self.testbed)
        primary = next((name for name, node in found.items() if node["writable"]), None)
        if not away or primary is None:
            return
        self.writers.pause()
        try:
            for name in away:
                self.mark("rebuild", node=name)
                rebuild(self.testbed, name, primary)
            _problem(lambda: nodes.following(self.testbed), SETTLE_SECONDS)
            self.mark("rebuilt")
        finally:
            self.writers.resume()

    def everything(self) -> dict[str, Any]:
        """All nodes' rows of the whole run, while the writers are quiet."""
        self.writers.pause()
        unequal = _problem(lambda: nodes.equal(self.testbed), EQUAL_SECONDS)
        found = nodes.read(self.testbed, self.writers.tag, self.writers.author, nodes.Accounted())
        return {"nodes": found, "unequal": unequal}

    def _scene(self) -> Scene:
        """The present primary is whoever acknowledges writes now."""
        began, heard = time.time(), [Write(0, OK, 0, 0, None, 0)]

        def still() -> str | None:
            heard[:] = self.writers.acknowledged(began)
            owners = {write.server for write in heard[-FLOWING:]}
            return (
                None if len(heard) >= FLOWING and len(owners) == 1 else f"{len(heard)} writes acknowledged by {owners}"
            )

        wait.until(still, what="writes acknowledged by one server", seconds=FLOW_SECONDS)
        primary = self._name(heard[-1].server)
        others = tuple(server.name for server in self.testbed.plan.servers if server.name != primary)
        return Scene(self.testbed, self.mark, self.events, primary, others, self.random.choice(others or (primary,)))

    def _wait_until_back(self, scene: Scene, apart: tuple[str, ...], seconds: float) -> None:
        """Another server acknowledges writes, or the window has passed."""

        def nobody() -> str | None:
            heard = self.writers.acknowledged(scene.began, apart)
            return self._few([write for write in heard if self._name(write.server) != scene.primary])

        _problem(nobody, seconds)

    @staticmethod
    def _few(heard: list[Write]) -> str | None:
        return None if len(heard) >= FLOWING else f"{len(heard)} writes"

    def _name(self, server_id: int | None) -> str:
        """A server by its number in the database; numbers are given in the plan's order, from 1."""
        assert server_id is not None
        return self.testbed.plan.servers[server_id - 1].name

    def _owners(self, taken: dict[str, list[Write]]) -> list[list[Any]]:
        """Who acknowledged, in the order of the answers: `accounting.account` says how."""
        told = [
            write for heard in taken.values() for write in heard if write.outcome == OK and write.server is not None
        ]
        runs: list[list[Any]] = []
        for write in sorted(told, key=lambda write: write.answered):
            name = self._name(write.server)
            if not runs or runs[-1][0] != name:
                runs.append([name, 0, write.answered, write.answered, write.sent])
            runs[-1][1] += 1
            runs[-1][3], runs[-1][4] = write.answered, max(runs[-1][4], write.sent)
        return runs


def _told(heard: list[Write]) -> dict[str, str]:
    return {
        outcome: spans(write.number for write in heard if write.outcome == outcome) for outcome in (OK, FAILED, UNKNOWN)
    }


def _answers(taken: dict[str, list[Write]], origin: float, apart: tuple[str, ...]) -> dict[str, str]:
    """When clients were told that a write is done, from ``origin`` on: at the endpoint, and through the site."""
    ways = {
        "endpoint": [name for name in taken if name not in (THROUGH_THE_SITE, *apart)],
        THROUGH_THE_SITE: [THROUGH_THE_SITE],
    }
    return {
        way: packed(
            (
                write.answered
                for name in names
                for write in taken[name]
                if write.outcome == OK and write.answered >= origin
            ),
            origin,
        )
        for way, names in ways.items()
    }


def _short(event: dict[str, Any]) -> dict[str, Any]:
    why = {"why": str(event["why"])[:WHY]} if "why" in event else {}
    return {name: event[name] for name in ("time", "event", *DETAILS) if name in event} | why


def _problem(look: Callable[[], str | None], seconds: float) -> str | None:
    """None once the look is content; what it saw last when it was not in time."""
    try:
        wait.until(look, what="", seconds=seconds, every=0.002)
    except DeadlineError:
        return look()
    return None
