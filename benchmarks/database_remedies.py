"""The cost of a dead primary with each remedy: semi-synchronous replication against asynchronous and against Galera."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, say
from testbed.body import Body
from topo.errors import EXIT_HOLDS, FoobarError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

OURS, REFERENCES = "semisync", ("async", "galera")
DESIGNS = (OURS, *REFERENCES)
#: the fault scenarios (testbed/faults/scenarios.py), and what their gap may be with ours (ms)
BOUNDS = {"crash": 50.0, "freeze": 500.0}
WINDOW = 10.0


class DatabaseRemedies(Benchmark):
    """Three testbeds side by side, each under the same writers; their primaries are struck in turns."""

    name = "db_failover"

    def measure(self, size: Size, tell: Tell) -> Report:
        variants = {design: ("--db", design) for design in DESIGNS}
        return report(child.in_turns(self.name, size, tell, variants, BOUNDS))

    def body(self, size: Size) -> Body:
        return DatabaseBody(size)


def report(answers: Mapping[str, list[dict[str, Any]]]) -> Report:
    """Series from each kind's rows, ``{design: {"gap_ms", "lost", "back"}}``."""
    series = [
        PairedSeries(
            f"{kind}: write gap / {reference}",
            "ms",
            tuple(row[OURS]["gap_ms"] for row in rows),
            tuple(row[reference]["gap_ms"] for row in rows),
            f"--db {reference}",
            Target("ours", "<=", BOUNDS[kind]),
        )
        for kind, rows in answers.items()
        for reference in REFERENCES
    ]
    every = [row for rows in answers.values() for row in rows]
    # counted over all rounds: a median would hide a single one
    lost = {design: float(sum(row[design]["lost"] for row in every)) for design in DESIGNS}
    pairs = len(next(iter(answers.values())))
    series += [
        PairedSeries(
            f"acknowledged and lost / {reference}",
            "writes",
            (lost[OURS],) * pairs,
            (lost[reference],) * pairs,
            f"--db {reference}",
            Target("ours", "<=", 0),
        )
        for reference in REFERENCES
    ]
    away = {design: sum(not row[design]["back"] for row in every) for design in DESIGNS}
    named = ", ".join(f"{design} {count} of {len(every)}" for design, count in away.items())
    return Report(tuple(series), (f"db_failover: writes that did not come back within {WINDOW:g} s: {named}",))


class DatabaseBody(Body):
    """One testbed: a line on standard input is a fault scenario, the answer what it cost."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from experiments.db_failover.measure import Rounds
        from experiments.db_failover.writers import writing

        with writing(testbed, f"b{random.randrange(16**6):06x}") as writers:
            rounds = Rounds(testbed, writers, random.Random(), lambda *_, **__: None, WINDOW)
            _quiet(rounds)
            say("result", testbed.profile.db)
            for number, line in enumerate(sys.stdin, start=1):
                say("result", _struck(rounds, number, line.strip()))
        return EXIT_HOLDS


def _quiet(rounds: Any) -> None:
    """The writers rest while other testbeds are struck."""
    rounds.writers.pause()


def believe(what: str, blind: str | None) -> None:
    """Raises FoobarError for a round that proves nothing: its fault was not seen, or not all was read."""
    if blind:
        raise FoobarError(f"db_failover: {what}: {blind}")


def _struck(rounds: Any, number: int, kind: str) -> dict[str, Any]:
    """The cost of one round. Raises FoobarError for one that proves nothing."""
    from experiments.db_failover.checks import JudgedRound, accounted
    from testbed.faults.scenarios import DATABASE

    scenario = next(scenario for scenario in DATABASE if scenario.name == kind)
    rounds.writers.resume()
    try:
        held = rounds.hold(number, scenario)
    finally:
        _quiet(rounds)
    design = rounds.testbed.profile.db
    judged = JudgedRound(held, accounted(design, held), WINDOW, design)
    believe(f"{design}, {kind}", judged.inconclusive)
    gap = judged.gap
    cost = gap.ms if gap else (held["settled"] - held["began"]) * 1000
    return {"gap_ms": cost, "lost": len(judged.account.lost), "back": judged.back}
