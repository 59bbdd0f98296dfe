"""Measuring ``db_failover``: rounds of faults under writes, then the whole table once more.

A round: writers at work, one fault at the primary, until writes are back or the window has passed; healing; accounts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experiments.db_failover import nodes
from experiments.db_failover.checks import BEFORE
from experiments.db_failover.evidence import DbFailoverEvidence, FinalLook, NodeRow, RoundRow, packed, spans
from experiments.db_failover.writer import FAILED, OK, UNKNOWN
from experiments.db_failover.writers import THROUGH_THE_SITE, Write, Writers, writing
from services.failover.events import LOG, Events
from testbed.faults.failover import database_greets
from testbed.faults.injection import injected
from testbed.faults.kind import COMPOUND, PLANNED, Fault, Injection
from testbed.faults.scenarios import Scenario, eligible, left_out, named
from testbed.faults.schedule import schedule
from topo import plan as roles
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from experiments.engine.run import Run
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
    """The parts that the rounds of one run share. ``window``: seconds for which is waited that writes come back."""

    testbed: Testbed
    writers: Writers
    random: random.Random
    mark: Callable[..., None]
    window: float
    events: Events = field(init=False)
    done: nodes.Accounted = field(default_factory=nodes.Accounted)

    def __post_init__(self) -> None:
        self.events = Events(self.testbed.inside(self.testbed.plan.host_of(roles.MONITOR).name).path(LOG))

    def hold(self, number: int, scenario: Scenario) -> RoundRow:
        """One round's evidence; writers go on afterwards. Raises DeadlineError when no write is acknowledged before."""
        primary = self._primary()
        cut_off = (primary,) if scenario.takes_host else ()
        silent = _problem(lambda: None if database_greets(self.testbed, primary) else "silent", FLOW_SECONDS)
        self.mark("round", number=number, scenario=scenario.name, primary=primary)
        time.sleep(self.random.uniform(*FLOW))
        with injected(self.testbed, self._fault(scenario, primary), mark=self.mark) as injection:
            proof = self._proof(scenario, primary, injection)
            since = time.time() if scenario.keeps_primary else injection.began
            self._wait_until_back(since, primary, cut_off, scenario)
            healing = time.time()
        problem = self._settle()
        settled = time.time()
        _problem(lambda: _few(self.writers.acknowledged(settled)), self.window)
        taken, rows, unequal = self.account()
        self._mend(rows)
        return {
            "number": number,
            "scenario": scenario.name,
            "primary": primary,
            "cut_off": list(cut_off),
            "greeted": silent is None,
            "proof": proof,
            "began": injection.began,
            "healing": healing,
            "settled": settled,
            "problem": problem,
            "answers": _answers(taken, injection.began - BEFORE, cut_off),
            "owners": self._owners(taken),
            "events": [_short(event) for event in self.events.take()],
            "writes": {name: _told(writes) for name, writes in taken.items()},
            "nodes": rows,
            "unequal": unequal,
        }

    def _fault(self, scenario: Scenario, primary: str) -> Fault:
        """The scenario at the present primary; a planned one names the successor, by chance."""
        plan = self.testbed.plan
        others = [host.name for host in plan.hosts_of(roles.DATABASE) if host.name != primary]
        successor = self.random.choice(others or [primary])
        return scenario.at(primary, plan, successor if scenario.symptom == PLANNED else "")

    def _proof(self, scenario: Scenario, primary: str, injection: Injection) -> str | None:
        """The sign by which the fault was seen to be in force; None when it was not.

        The primary's database must not greet the balancer any more; what else a compound fault consists of, and what
        leaves the primary greeting, must have been seen by the fault itself.
        """
        if scenario.greets or (scenario.symptom == COMPOUND and not injection.seen):
            return injection.seen or None
        if database_greets(self.testbed, primary):
            return None
        return "; ".join(text for text in (f"{primary} does not greet the balancer", injection.seen) if text)

    def account(self) -> tuple[dict[str, list[Write]], dict[str, NodeRow], str | None]:
        """Quiet the writers, look at all nodes, let the writers go on.

        Gives what the writers were told, what the nodes have, and in how far their positions differ.
        """
        self.writers.pause()
        try:
            unequal = _problem(lambda: nodes.equal(self.testbed), EQUAL_SECONDS)
            taken = self.writers.take()
            rows = nodes.read(self.testbed, self.writers.tag, self.writers.author, self.done)
        finally:
            self.writers.resume()
        self.done.row = min(node["last"] for node in rows.values())
        self.done.numbers |= {name: max(write.number for write in writes) for name, writes in taken.items() if writes}
        return taken, rows, unequal

    def _settle(self) -> str | None:
        """Wait until every node is in its place; what is wrong when one has been turned away, or it takes too long."""
        away: list[str] = []

        def unsettled() -> str | None:
            problem = nodes.following(self.testbed)
            away[:] = nodes.diverged(self.testbed) if problem else []
            return None if away else problem

        problem = _problem(unsettled, SETTLE_SECONDS)
        return f"turned away by the primary: {', '.join(away)}" if away else problem

    def _mend(self, rows: dict[str, NodeRow]) -> None:
        """Nodes that have gone their own way are made anew; nothing is written meanwhile."""
        away = nodes.diverged(self.testbed)
        primary = next((name for name, node in rows.items() if node["writable"]), None)
        if not away or primary is None:
            return
        self.writers.pause()
        try:
            for name in away:
                self.mark("rebuild", node=name)
                nodes.rebuild(self.testbed, name, primary)
            _problem(lambda: nodes.following(self.testbed), SETTLE_SECONDS)
            self.mark("rebuilt")
        finally:
            self.writers.resume()

    def everything(self) -> FinalLook:
        """All nodes' rows of the whole run, while the writers are quiet."""
        self.writers.pause()
        unequal = _problem(lambda: nodes.equal(self.testbed), EQUAL_SECONDS)
        rows = nodes.read(self.testbed, self.writers.tag, self.writers.author, nodes.Accounted())
        return {"nodes": rows, "unequal": unequal}

    def _primary(self) -> str:
        """The present primary: the server that acknowledges writes now."""
        began, heard = time.time(), [Write(0, OK, 0, 0, None, 0)]

        def still() -> str | None:
            heard[:] = self.writers.acknowledged(began)
            owners = {write.server for write in heard[-FLOWING:]}
            return (
                None if len(heard) >= FLOWING and len(owners) == 1 else f"{len(heard)} writes acknowledged by {owners}"
            )

        wait.until(still, what="writes acknowledged by one server", seconds=FLOW_SECONDS)
        return self._name(heard[-1].server)

    def _wait_until_back(self, began: float, primary: str, cut_off: tuple[str, ...], scenario: Scenario) -> None:
        """Another server acknowledges writes, or any where the primary may remain, or the window has passed."""
        seconds = min(self.window, IMPATIENT_SECONDS) if scenario.after_healing else self.window

        def away() -> str | None:
            heard = self.writers.acknowledged(began, cut_off)
            if scenario.keeps_primary:
                return _few(heard)
            return _few([write for write in heard if self._name(write.server) != primary])

        _problem(away, seconds)

    def _name(self, server_id: int | None) -> str:
        """A server by its number in the database; numbers are given in the plan's order, from 1."""
        assert server_id is not None
        return self.testbed.plan.hosts_of(roles.DATABASE)[server_id - 1].name

    def _owners(self, taken: dict[str, list[Write]]) -> list[list[Any]]:
        """The nodes that acknowledged, in the order of the answers: `accounting.account` says how."""
        acknowledged = [
            write for heard in taken.values() for write in heard if write.outcome == OK and write.server is not None
        ]
        runs: list[list[Any]] = []
        for write in sorted(acknowledged, key=lambda write: write.answered):
            name = self._name(write.server)
            if not runs or runs[-1][0] != name:
                runs.append([name, 0, write.answered, write.answered, write.sent])
            runs[-1][1] += 1
            runs[-1][3], runs[-1][4] = write.answered, max(runs[-1][4], write.sent)
        return runs


def _few(heard: list[Write]) -> str | None:
    return None if len(heard) >= FLOWING else f"{len(heard)} writes"


def _told(heard: list[Write]) -> dict[str, str]:
    return {
        outcome: spans(write.number for write in heard if write.outcome == outcome) for outcome in (OK, FAILED, UNKNOWN)
    }


def _answers(taken: dict[str, list[Write]], origin: float, cut_off: tuple[str, ...]) -> dict[str, str]:
    """When clients were told that a write is done, from ``origin`` on: at the endpoint, and through the site."""
    ways = {
        "endpoint": [name for name in taken if name not in (THROUGH_THE_SITE, *cut_off)],
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


# --- a run ---------------------------------------------------------------------------------------------------------


def measure(testbed: Testbed, run: Run) -> DbFailoverEvidence:
    """One round after the other, and what every node has at the end."""
    design = testbed.profile.db
    scenarios = named(str(run.options["faults"]), eligible(design), left_out(design))
    window = float(run.options["window"])
    ordered = schedule(scenarios, run.repeat or len(scenarios), run.random)
    rounds: list[RoundRow] = []
    evidence: dict[str, Any] = {
        "db": design,
        "window": window,
        "scheduled": len(ordered),
        "left_out": left_out(design),
        "rounds": rounds,
        "stopped": None,
        "final": None,
    }
    for name, value in evidence.items():
        run.keep(name, value)
    with writing(testbed, f"w{run.random.randrange(16**6):06x}") as writers:
        holding = Rounds(testbed, writers, run.random, run.mark, window)
        with run.phase("faults", len(ordered)) as progress:
            for number, scenario in enumerate(ordered, start=1):
                try:
                    rounds.append(holding.hold(number, scenario))
                except DeadlineError as error:
                    evidence["stopped"] = f"round {number} ({scenario.name}): {error}"
                    break
                progress.advance(1)
        evidence["final"] = holding.everything()
    return DbFailoverEvidence(**evidence)
