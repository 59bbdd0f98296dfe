"""Measuring ``web_failover``: the capacity, then one fault after the other under load, then the database's own rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from experiments.instruments import load
from experiments.web_failover import balancer
from experiments.web_failover.balancer import UnwatchedError, Watch
from experiments.web_failover.evidence import Capacity, StoredRows, WebFailoverEvidence
from experiments.web_failover.windows import BEFORE_SECONDS, PHASE
from services.mariadb import mariadb
from testbed.faults.injection import injected
from testbed.faults.kind import ERROR, SILENT, Fault, Mark
from testbed.faults.scenarios import WEB, Scenario, named
from testbed.faults.schedule import schedule
from topo import plan as roles
from topo.errors import DeadlineError, UsageError
from topo.folders import Folder
from topo.plan import CLIENT, Plan

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

REQUESTS, CAPACITY = "requests.jsonl", "capacity.jsonl"
SHARE = 0.8
FIXED, FULL = "fixed rate", f"{SHARE:.0%} of capacity"
SESSIONS = 2
#: requests of the n-th load are numbered from n times this
STEP = 1_000_000
PATIENCE_S = 3.0
#: a fault stays until the balancer has seen it, but not longer (s); silent ones long enough to wear visitors out
LONGEST = {SILENT: PATIENCE_S + 1.0, ERROR: 1.0}
LONG = 1.0
#: s, drawn anew for each fault: how much longer it stays once it was seen; how long all is well before the next
STAYS, PAUSE = (0.3, 0.5), (0.3, 0.6)
WARM_SECONDS, WHOLE_SECONDS, DRAIN_SECONDS, AWAY_SECONDS = 0.5, 1.5, 0.3, 0.5


def measure(testbed: Testbed, run: Run) -> WebFailoverEvidence:
    """Every fault of the schedule, each under one of two loads."""
    plan = testbed.plan
    scenarios, primary = named(str(run.options["faults"]), WEB), plan.primary.name
    others = eligible(plan, primary)
    if not others:
        raise UsageError("web_failover: one server cannot stand in for another: --servers 2 or more")
    count = run.repeat or len(scenarios)
    portions = portioned(scenarios, count, (FIXED, FULL), plan, primary, run.random)
    settings = load.LoadSettings(
        rate=None,
        seed=run.seed,
        tag=f"web-{run.random.getrandbits(32):08x}",
        sessions=load.log_in(client(testbed), SESSIONS),
        patience_s=PATIENCE_S,
    )
    site = capacity(testbed, run, settings, run.random.choice(others))
    rates = {FIXED: float(run.options["rate"]), FULL: round(SHARE * site["away_per_s"], 1)}
    evidence: dict[str, Any] = {
        "primary": primary,
        "scheduled": count,
        "patience_s": PATIENCE_S,
        "capacity": site,
        "rates_per_s": rates,
        "first_numbers": [],
        "faults": [],
        "stopped": None,
    }
    for name, value in evidence.items():
        run.keep(name, value)
    with (
        run.folder.create(REQUESTS, "w") as out,
        balancer.watched(testbed) as watch,
        run.phase(PHASE, count) as progress,
    ):
        run.keep("changes", watch.changes)
        under_load = UnderLoad(testbed, watch, run.random, run.mark, progress.advance)
        for number, (name, portion) in enumerate(portions):
            evidence["first_numbers"].append(number * STEP)
            this = replace(settings, rate=rates[name], first=number * STEP, seed=run.random.getrandbits(32))
            with load.loading(client(testbed), this, out):
                evidence["stopped"] = under_load.inject(portion, name, evidence["faults"])
            if evidence["stopped"]:
                break
    balancer.keep_bad_endings(testbed, run.folder)
    measured: dict[str, Any] = {
        **evidence,
        "stopped": evidence["stopped"] or watch.problem,
        "changes": watch.changes,
        "looks": {"times": watch.looks, "longest_gap_s": round(watch.gap_s, 3)},
        "stored": stored(testbed, primary, settings.tag),
        "requests": _requests(run.folder, [server.name for server in plan.hosts_of(roles.WEB)]),
    }
    return WebFailoverEvidence(**measured)


def client(testbed: Testbed) -> Inside:
    """The host that visitors are on."""
    return testbed.inside(testbed.plan.host_of(CLIENT).name)


# --- which fault, where, under which load --------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheduled:
    """A fault that will be injected, and the server that it takes from the site."""

    scenario: Scenario
    server: str
    fault: Fault

    def as_dict(self) -> dict[str, str]:
        return {
            "fault": str(self.fault),
            "scenario": self.scenario.name,
            "symptom": self.scenario.symptom,
            "server": self.server,
        }


def at(scenario: Scenario, server: str, plan: Plan) -> Scheduled:
    """That scenario on that server."""
    return Scheduled(scenario, server, scenario.at(server, plan))


def eligible(plan: Plan, primary: str) -> list[str]:
    """The servers that a fault may take whole: not the one whose database takes the writes.

    What its death costs is the question of ``db_failover``.
    """
    return [server.name for server in plan.hosts_of(roles.WEB) if server.name != primary]


def portioned(
    scenarios: Sequence[Scenario], count: int, loads: Sequence[str], plan: Plan, primary: str, random: Random
) -> list[tuple[str, list[Scheduled]]]:
    """The schedule of ``count`` faults in portions, each under one of the ``loads``, in turns.

    Raises UsageError when there is no server that a scenario could hit.
    """
    every = [server.name for server in plan.hosts_of(roles.WEB)]
    servers = {scenario: eligible(plan, primary) if scenario.takes_host else every for scenario in scenarios}
    if without := [scenario for scenario, names in servers.items() if not names]:
        raise UsageError(f"--faults {without[0].name}: it spares {primary}, and there is no other server")
    ordered = [at(scenario, random.choice(servers[scenario]), plan) for scenario in schedule(scenarios, count, random)]
    size = min(len(scenarios), -(-count // len(loads)))
    portions = [ordered[first : first + size] for first in range(0, count, size)]
    return [(loads[number % len(loads)], portion) for number, portion in enumerate(portions)]


@dataclass(frozen=True)
class UnderLoad:
    """Faults, one after the other, under a load that runs already.

    Each stays until it was seen; the next comes when the server is back and what had piled up is worked off.
    """

    testbed: Testbed
    watch: Watch
    random: Random
    mark: Mark
    advance: Callable[[float], None] = lambda _: None

    def inject(self, portion: Sequence[Scheduled], load_name: str, noted: list[dict[str, str]]) -> str | None:
        """These faults; what they are is added to ``noted``. Gives the reason why it was not gone on with, or None."""
        time.sleep(BEFORE_SECONDS)
        for scheduled in portion:
            noted.append(scheduled.as_dict() | {"load": load_name})
            try:
                self._one(scheduled)
            except (DeadlineError, UnwatchedError) as error:
                return f"{scheduled.fault}: {error}"
            self.advance(1)
        return None

    def _one(self, scheduled: Scheduled) -> None:
        with injected(self.testbed, scheduled.fault, mark=self.mark):
            self.watch.wait_until_given_up(scheduled.server, LONGEST.get(scheduled.scenario.symptom, LONG))
            time.sleep(self.random.uniform(*STAYS))
        self.watch.wait_for(scheduled.server)
        self.mark("rejoined", fault=str(scheduled.fault))
        time.sleep(self.random.uniform(*PAUSE))


# --- the site's capacity, and what the database holds --------------------------------------------------------------


def capacity(testbed: Testbed, run: Run, settings: load.LoadSettings, server: str) -> Capacity:
    """Good answers a second when clients ask without a pause: ``whole_per_s``, and ``away_per_s`` without a server.

    The second is what a site can promise. It counts while that server's host is off and then starts again, which on one
    machine for all hosts costs the others processor time; the balancer is told, so that its checks play no part.
    """
    asking = replace(settings, rate=None, tag=f"capacity-{settings.tag}")
    with (
        run.folder.create(CAPACITY, "w") as out,
        run.phase("capacity"),
        balancer.watched(testbed) as watch,
        load.loading(client(testbed), asking, out),
    ):
        time.sleep(WARM_SECONDS)
        began = time.time()
        time.sleep(WHOLE_SECONDS)
        whole = time.time()
        with balancer.without(testbed, server):
            time.sleep(DRAIN_SECONDS)
            failed = time.time()
            with injected(testbed, Fault("off", server), mark=run.mark):
                time.sleep(AWAY_SECONDS)
            back = time.time()
        watch.wait_for(server)
    done = load.outcomes(run.folder.path / CAPACITY)
    load.compress(run.folder, CAPACITY)
    return {
        "whole_per_s": _rate(done, began, whole),
        "away_per_s": _rate(done, failed, back),
        "clients": asking.clients,
        "away_s": round(back - failed, 3),
    }


def _rate(done: Sequence[load.Outcome], start: float, stop: float) -> float:
    good = sum(outcome.ok and start <= outcome.time + outcome.latency_s < stop for outcome in done)
    return round(good / (stop - start), 1)


def stored(testbed: Testbed, server: str, tag: str) -> StoredRows:
    """The request's ``number`` and the ``message``'s of each row that a load of that tag has written."""
    rows = mariadb.query(
        testbed.inside(server),
        "SELECT id, body FROM foobar.messages WHERE body LIKE %s ORDER BY id",
        f"{tag}-%",
    )
    return {
        "number": [int(row["body"].rpartition("-")[2]) for row in rows],
        "message": [row["id"] for row in rows],
    }


def _requests(folder: Folder, servers: Sequence[str]) -> dict[str, Any]:
    table = load.columns(load.outcomes(folder.path / REQUESTS), servers)
    load.compress(folder, REQUESTS)
    return table
