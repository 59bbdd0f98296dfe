"""``web_failover``: servers die in every way there is while visitors read and write. Does one of them notice?

Load runs all the time, at a fixed rate and at 80 % of what the site can answer; one fault after the other hits a
server at a random moment. Every request has a record, and the database says what was written, and how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict
from experiments.instruments import load
from experiments.web_failover import balancer, capacity, show
from experiments.web_failover.checks import verdict
from experiments.web_failover.choice import ALL, course, kinds, spared
from experiments.web_failover.hurting import PATIENCE_S, Hurting
from experiments.web_failover.stored import stored
from experiments.web_failover.webplots import pictures
from experiments.web_failover.windows import PHASE
from topo.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SHARE = 0.8
FIXED, FULL = "fixed rate", f"{SHARE:.0%} of capacity"
SESSIONS = 2
#: requests of the n-th load are numbered from n times this
STEP = 1_000_000


class WebFailover(Experiment[Evidence]):
    """One fault after the other under load; then the database's own rows."""

    name = "web_failover"
    claim = "no request fails when a server dies"
    timing = True
    repeats = True
    options = (
        Option("rate", 60, "requests per second of the load with a fixed rate", least=20, most=1000),
        Option("faults", ALL, "which kinds, separated by commas"),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        wanted, plan, primary = kinds(str(run.options["faults"])), testbed.plan, testbed.plan.primary.name
        others = spared(plan, primary)
        if not others:
            raise UsageError("web_failover: one server cannot stand in for another: --servers 2 or more")
        count = run.repeat or len(wanted)
        portions = course(wanted, count, (FIXED, FULL), plan, primary, run.random)
        settings = load.Settings(
            rate=None,
            seed=run.seed,
            tag=f"web-{run.random.getrandbits(32):08x}",
            sessions=load.log_in(testbed.inside("client"), SESSIONS),
            patience_s=PATIENCE_S,
        )
        found = capacity.measured(testbed, run, settings, run.random.choice(others))
        rates = {FIXED: float(run.options["rate"]), FULL: round(SHARE * found["away_per_s"], 1)}
        evidence: dict[str, Any] = {
            "primary": primary,
            "wanted": count,
            "patience_s": PATIENCE_S,
            "capacity": found,
            "rates_per_s": rates,
            "first_numbers": [],
            "faults": [],
            "stopped": None,
        }
        for name, value in evidence.items():
            run.keep(name, value)
        file = run.folder / "requests.jsonl"
        with balancer.watched(testbed) as watch, run.phase(PHASE, count) as progress:
            run.keep("changes", watch.changes)
            hurting = Hurting(testbed, watch, run.random, run.mark, progress.advance)
            for number, (name, some) in enumerate(portions):
                evidence["first_numbers"].append(number * STEP)
                this = replace(settings, rate=rates[name], first=number * STEP, seed=run.random.getrandbits(32))
                with load.loading(testbed.inside("client"), this, file):
                    evidence["stopped"] = hurting.hurt(some, name, evidence["faults"])
                if evidence["stopped"]:
                    break
        balancer.keep_troubles(testbed, run.folder / "balancer-troubles.jsonl")
        return {
            **evidence,
            "looks": {"times": watch.looks, "longest_gap_s": round(watch.gap_s, 3)},
            "stored": stored(testbed, primary, settings.tag),
            "requests": _requests(file, [server.name for server in plan.servers]),
        }

    def judge(self, evidence: Evidence) -> Verdict:
        return verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        return show.table(evidence, verdict.numbers) if "requests" in evidence else "nothing was measured to its end"

    def page(self, evidence: Evidence) -> str:
        return show.html(evidence, self.judge(evidence).numbers)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        return pictures(evidence) if "requests" in evidence else ()


def _requests(file: Path, servers: Sequence[str]) -> dict[str, Any]:
    table = load.columns(load.outcomes(file), servers)
    load.compress(file)
    return table
