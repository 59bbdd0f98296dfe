"""What a dead primary costs with each remedy: semi-synchronous replication against asynchronous and against Galera."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.base import Benchmark, Report, Series, Size, Target, Tell
from testbed.session import Body
from topo.errors import EXIT_HOLDS, FoobarError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

OURS, REFERENCES = "semisync", ("async", "galera")
DESIGNS = (OURS, *REFERENCES)
#: the fault scenarios (testbed/faults/scenarios.py), and what their gap may be with ours (ms)
BOUNDS = {"crash": 50.0, "freeze": 500.0}
WINDOW = 10.0


class DbFailover(Benchmark):
    """Three testbeds side by side, each under the same writers; their primaries are struck in turns."""

    name = "db_failover"

    def measure(self, size: Size, tell: Tell) -> Report:
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in BOUNDS}
        with ExitStack() as stack:
            beds = {
                design: stack.enter_context(child.running(self.name, size, flags=("--db", design)))
                for design in DESIGNS
            }
            for bed in beds.values():
                bed.result(tell)
            order = list(DESIGNS)
            for pair in range(size.pairs):
                tell(f"pair {pair + 1} of {size.pairs}")
                for kind, rows in found.items():
                    rows.append({design: _answer(beds[design], kind, tell) for design in order})
                order.append(order.pop(0))
        return report(found)

    def body(self, size: Size) -> Body:
        return Struck(size)


def _answer(bed: child.Child, kind: str, tell: Tell) -> Any:
    bed.ask(kind)
    return bed.result(tell)


def report(found: Mapping[str, list[dict[str, Any]]]) -> Report:
    """Series from each kind's rows, ``{design: {"gap_ms", "lost", "back"}}``."""
    series = [
        Series(
            f"{kind}: write gap / {reference}",
            "ms",
            tuple(row[OURS]["gap_ms"] for row in rows),
            tuple(row[reference]["gap_ms"] for row in rows),
            f"--db {reference}",
            Target("ours", "<=", BOUNDS[kind]),
        )
        for kind, rows in found.items()
        for reference in REFERENCES
    ]
    every = [row for rows in found.values() for row in rows]
    # counted over all rounds: a median would hide a single one
    lost = {design: float(sum(row[design]["lost"] for row in every)) for design in DESIGNS}
    pairs = len(next(iter(found.values())))
    series += [
        Series(
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


class Struck(Body):
    """One testbed: a line on standard input is a fault scenario, the answer what it cost."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks import inside
        from experiments.db_failover.measure import Rounds
        from experiments.db_failover.writers import writing

        with writing(testbed, f"b{random.randrange(16**6):06x}") as writers:
            rounds = Rounds(testbed, writers, random.Random(), lambda *_, **__: None, WINDOW)
            _quiet(rounds)
            inside.say("result", testbed.profile.db)
            for number, line in enumerate(sys.stdin, start=1):
                inside.say("result", _struck(rounds, number, line.strip()))
        return EXIT_HOLDS


def _quiet(rounds: Any) -> None:
    """The writers rest while other testbeds are struck."""
    rounds.writers.pause()


def believe(what: str, blind: str | None) -> None:
    """Raises FoobarError for a round that proves nothing: its fault was not seen, or not all was read."""
    if blind:
        raise FoobarError(f"db_failover: {what}: {blind}")


def _struck(rounds: Any, number: int, kind: str) -> dict[str, Any]:
    """What one round cost. Raises FoobarError for one that proves nothing."""
    from experiments.db_failover.checks import Finding, accounted
    from testbed.faults.scenarios import DATABASE

    scenario = next(scenario for scenario in DATABASE if scenario.name == kind)
    rounds.writers.resume()
    try:
        held = rounds.hold(number, scenario)
    finally:
        _quiet(rounds)
    design = rounds.testbed.profile.db
    finding = Finding(held, accounted(design, held), WINDOW, design)
    believe(f"{design}, {kind}", finding.blind)
    gap = finding.gap
    cost = gap.ms if gap else (held["settled"] - held["began"]) * 1000
    return {"gap_ms": cost, "lost": len(finding.account.lost), "back": finding.back}
