"""The pictures of a run, as values: writes around a fault, gaps by kind, and what gaps are made of. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from experiments.db_failover.checks import GROUPS, TARGETS, Finding, findings
from experiments.db_failover.gap import PARTS
from experiments.db_failover.trouble import TROUBLES
from experiments.engine.base import Evidence
from experiments.engine.plots import Mark, Plot, Series


def plots(evidence: Evidence) -> list[Plot]:
    """Those that there is something to draw for."""
    found = findings(evidence)
    return [*_around(found), *_gaps(found), *_parts(found)]


def _around(found: Sequence[Finding]) -> Iterator[Plot]:
    """Acknowledged writes of the first round with a gap of the usual length, for a crash (or whatever there is)."""
    seen = [each for each in found if each.gap]
    pick = sorted(
        [each for each in seen if each.kind == "crash"] or seen, key=lambda each: each.gap.ms if each.gap else 0
    )
    if not pick:
        return
    each = pick[len(pick) // 2]
    origin = each.round["began"]
    series = [
        Series(label, [(when - origin) * 1000 for when in answers], list(range(1, len(answers) + 1)))
        for label, way in (("at the endpoint", "endpoint"), ("through the site", "site"))
        if (answers := each.answers(way))
    ]
    last = (max(each.answers() + each.answers("site")) - origin) * 1000
    events = [*((event["time"], event["event"]) for event in each.round["events"]), (each.round["healing"], "heal")]
    marks = [Mark((when - origin) * 1000, what) for when, what in [(origin, each.kind), *events]]
    yield Plot(
        "Acknowledged writes around a fault",
        "ms since the fault",
        "writes acknowledged",
        series,
        "steps",
        [mark for mark in marks if mark.x <= last],
        note=each.name,
    )


def _gaps(found: Sequence[Finding]) -> Iterator[Plot]:
    """How long nobody's write was acknowledged, for each kind."""
    by_kind = {
        trouble.name: [each.gap.ms for each in found if each.kind == trouble.name and each.gap] for trouble in TROUBLES
    }
    series = [Series(kind, gaps) for kind, gaps in by_kind.items() if gaps]
    if series:
        groups = {GROUPS[each.kind] for each in found}
        marks = [Mark(bounds[-1][1], f"target {group}") for group, bounds in TARGETS.items() if group in groups]
        yield Plot(
            "Write gap by kind of fault",
            "ms without an acknowledged write",
            "share of faults",
            series,
            "ecdf",
            marks,
            log="x",
        )


def _parts(found: Sequence[Finding]) -> Iterator[Plot]:
    """The median of each part of the gap, for each kind."""
    kinds = [trouble.name for trouble in TROUBLES if any(each.kind == trouble.name and each.parts for each in found)]
    series = [
        Series(
            part,
            kinds,
            [median(each.parts[part] for each in found if each.kind == kind and each.parts) for kind in kinds],
        )
        for part in PARTS
    ]
    if kinds:
        yield Plot(
            "What the write gap is made of",
            "kind of fault",
            "median ms",
            [each for each in series if any(each.y)],
            "stacked",
        )
