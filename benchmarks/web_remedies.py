"""The cost of a dead web server for visitors: HAProxy with fast checks and repetition against its own defaults."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, say
from testbed.body import Body
from topo.errors import EXIT_HOLDS, FoobarError

if TYPE_CHECKING:
    from experiments.instruments.load import LoadSettings
    from testbed.testbed import Testbed

OURS, REFERENCE = "fast", "default"
HEALTHS = (OURS, REFERENCE)
#: the fault scenarios (testbed/faults/scenarios.py), and what ours may add to a request (ms)
BOUNDS = {"kill-app": 100.0, "freeze-app": 300.0, "cut": 300.0}
RATE = 60.0


class WebRemedies(Benchmark):
    """Two testbeds side by side; in turns one of them is under load and a server of it dies."""

    name = "web_failover"

    def measure(self, size: Size, tell: Tell) -> Report:
        variants = {health: ("--health", health) for health in HEALTHS}
        return report(child.in_turns(self.name, size, tell, variants, BOUNDS))

    def body(self, size: Size) -> Body:  # noqa: ARG002 - each fault takes the time it takes
        return WebBody()


def report(answers: Mapping[str, list[dict[str, Any]]]) -> Report:
    """Series from each kind's rows, ``{health: {"added_ms", "failed", "twice", "requests"}}``."""

    def series(measure: str, unit: str, values: Mapping[str, tuple[float, ...]], bound: float) -> PairedSeries:
        ours, reference = values[OURS], values[REFERENCE]
        return PairedSeries(measure, unit, ours, reference, f"--health {REFERENCE}", Target("ours", "<=", bound))

    added = [
        series(f"{kind}: added latency", "ms", _times(rows), bound)
        for (kind, rows), bound in zip(answers.items(), BOUNDS.values(), strict=True)
    ]
    # counted over all pairs: a median would hide a single one
    failed = [
        series(
            f"{kind}: failed",
            "requests",
            {health: (_sum(rows, health, "failed"),) * len(rows) for health in HEALTHS},
            0,
        )
        for kind, rows in answers.items()
    ]
    every = [row for rows in answers.values() for row in rows]
    sums = {health: {of: _sum(every, health, of) for of in ("requests", "failed", "twice")} for health in HEALTHS}
    notes = [
        f"web_failover: {health}: of {of['requests']:,.0f} requests {of['failed']:.0f} failed, {of['twice']:.0f} twice"
        for health, of in sums.items()
    ]
    return Report((*added, *failed), tuple(notes))


def _times(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    return {health: tuple(row[health]["added_ms"] for row in rows) for health in HEALTHS}


def _sum(rows: Iterable[Mapping[str, Any]], health: str, of: str) -> float:
    return float(sum(row[health][of] for row in rows))


class WebBody(Body):
    """One testbed: a line on standard input is a kind of fault, the answer what it cost."""

    def __call__(self, testbed: Testbed) -> int:
        from experiments.instruments import load
        from experiments.web_failover import balancer
        from experiments.web_failover.measure import PATIENCE_S, client

        sessions = load.log_in(client(testbed), 1)
        settings = load.LoadSettings(rate=RATE, seed=0, tag="", sessions=sessions, patience_s=PATIENCE_S)
        with balancer.watched(testbed) as watch:
            say("result", testbed.profile.health)
            for line in sys.stdin:
                say("result", _struck(testbed, watch, settings, line.strip()))
        return EXIT_HOLDS


def believe(kind: str, stopped: str | None, in_force: bool | None) -> None:
    """Raises FoobarError for a fault that proves nothing: it was not healed, or not seen to act."""
    if stopped or not in_force:
        raise FoobarError(f"web_failover: {kind}: {stopped or 'the fault was not seen to be in force'}")


def _struck(testbed: Testbed, watch: Any, settings: LoadSettings, kind: str) -> dict[str, Any]:
    """The cost of one fault of a kind, on a server other than the primary's."""
    from dataclasses import replace

    from experiments.instruments import load
    from experiments.web_failover.measure import UnderLoad, at, client, eligible, stored
    from experiments.web_failover.windows import PHASE, windows
    from testbed.faults.scenarios import WEB, named

    primary, drawn = testbed.plan.primary.name, random.Random()
    (scenario,) = named(kind, WEB)
    scheduled = at(scenario, drawn.choice(eligible(testbed.plan, primary)), testbed.plan)
    this = replace(settings, seed=drawn.getrandbits(32), tag=f"bench-{drawn.getrandbits(32):08x}")
    timeline: list[dict[str, Any]] = [{"time": time.time(), "what": "phase", "name": PHASE}]
    noted: list[dict[str, str]] = []

    def mark(what: str, **details: Any) -> None:
        timeline.append({"time": time.time(), "what": what, **details})

    with tempfile.NamedTemporaryFile("w", dir=testbed.home) as out:
        with load.loading(client(testbed), this, out):
            stopped = UnderLoad(testbed, watch, drawn, mark).inject([scheduled], "", noted)
        out.flush()
        done = load.outcomes(Path(out.name))
    (window,) = windows(noted, timeline, done, watch.changes, this.patience_s)
    believe(kind, stopped, window.in_force)
    times = Counter(stored(testbed, primary, this.tag)["number"])
    return {
        "added_ms": window.added_ms,
        "failed": sum(not outcome.ok for outcome in done),
        "requests": len(done),
        "twice": sum(count > 1 for count in times.values()),
    }
