"""What is shown of a run: a table on the terminal, a part of report.html, and its plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from experiments.db_failover.checks import SYMPTOMS, TARGETS, Finding, findings
from experiments.db_failover.gap import PARTS
from experiments.engine.base import Evidence
from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.verdict import Verdict
from testbed.faults.scenarios import DATABASE

COLUMNS = ("fault", "n", "gap ms: median", "max", "site: median", "max", "rejoin s", "lost", "not back")
WHAT = {each.name: each.what for each in DATABASE}


def table(evidence: Evidence, verdict: Verdict) -> str:
    """A row for each kind of fault, and what was left out, as text."""
    rows = [COLUMNS, *rows_by_kind(findings(evidence))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            text.ljust(width) if not place else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    left = [f"left out, because {reason}: {', '.join(names)}" for reason, names in left_out(evidence).items()]
    counts = ", ".join(
        f"{name} {verdict.numbers[name]}"
        for name in ("acknowledged", "lost", "duplicated", "unknown", "failed")
        if name in verdict.numbers
    )
    return "\n".join([*lines, *left, counts])


def rows_by_kind(found: Sequence[Finding]) -> list[tuple[str, ...]]:
    """What `COLUMNS` names, for each kind of fault that was met."""
    kinds = dict.fromkeys(each.name for each in DATABASE)
    grouped = {kind: [each for each in found if each.kind == kind] for kind in kinds}
    return [_row(kind, group) for kind, group in grouped.items() if group]


def _row(kind: str, group: Sequence[Finding]) -> tuple[str, ...]:
    gaps = [each.gap.ms for each in group if each.gap and each.back]
    site = [each.site_gap.ms for each in group if each.site_gap and each.back]
    rejoin = [each.round["settled"] - each.round["healing"] for each in group]
    lost = sum(len(each.account.lost) for each in group)
    away = sum(not each.back for each in group)
    return (
        kind,
        str(len(group)),
        *_middle_and_most(gaps),
        *_middle_and_most(site),
        f"{median(rejoin):.2f}",
        str(lost),
        str(away),
    )


def _middle_and_most(values: Sequence[float]) -> tuple[str, str]:
    return (f"{median(values):.0f}", f"{max(values):.0f}") if values else ("-", "-")


def left_out(evidence: Evidence) -> dict[str, list[str]]:
    """Kinds that were left out, by the reason."""
    reasons = evidence["left_out"]
    return {each: [name for name in reasons if reasons[name] == each] for each in sorted(set(reasons.values()))}


def html(evidence: Evidence) -> str:
    """Kinds, and what each round's gap went into."""
    from experiments.engine.report import TEMPLATES

    found = findings(evidence)
    return TEMPLATES.get_template("db_failover.html.j2").render(
        evidence=evidence,
        columns=COLUMNS,
        kinds=rows_by_kind(found),
        what=WHAT,
        parts=PARTS if any(each.parts for each in found) else (),
        left_out=left_out(evidence),
        shown=_telling(found),
        rounds=len(found),
    )


def _telling(found: Sequence[Finding], most: int = 40) -> list[Finding]:
    """The rounds worth a row of their own: what went wrong first, then the longest gaps."""

    def weight(each: Finding) -> tuple[bool, float]:
        account = each.account
        wrong = bool(account.lost or account.duplicated or account.two_primaries or account.diverged or not each.back)
        return wrong, each.gap.ms if each.gap else float("inf")

    return sorted(found, key=weight, reverse=True)[:most]


# --- plots ---------------------------------------------------------------------------------------------------------


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
        scenario.name: [each.gap.ms for each in found if each.kind == scenario.name and each.gap]
        for scenario in DATABASE
    }
    series = [Series(kind, gaps) for kind, gaps in by_kind.items() if gaps]
    if series:
        groups = {SYMPTOMS[each.kind] for each in found}
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
    kinds = [scenario.name for scenario in DATABASE if any(each.kind == scenario.name and each.parts for each in found)]
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
