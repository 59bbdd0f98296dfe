"""A run as it is shown: a table on the terminal, a part of report.html, and its plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from experiments.db_failover.accounting import PARTS
from experiments.db_failover.checks import SYMPTOMS, TARGETS, JudgedRound, judged_rounds
from experiments.db_failover.evidence import DbFailoverEvidence
from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.verdict import Verdict
from testbed.faults.scenarios import DATABASE

COLUMNS = ("fault", "n", "gap ms: median", "max", "site: median", "max", "rejoin s", "lost", "not back")
WHAT = {scenario.name: scenario.what for scenario in DATABASE}


def show(evidence: DbFailoverEvidence, verdict: Verdict) -> str:
    """A row for each kind of fault, and what was left out, as text."""
    rows = [COLUMNS, *rows_by_kind(judged_rounds(evidence))]
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


def rows_by_kind(rounds: Sequence[JudgedRound]) -> list[tuple[str, ...]]:
    """The values of `COLUMNS`, for every kind of fault that was met."""
    kinds = dict.fromkeys(scenario.name for scenario in DATABASE)
    grouped = {kind: [judged for judged in rounds if judged.scenario == kind] for kind in kinds}
    return [_row(kind, group) for kind, group in grouped.items() if group]


def _row(kind: str, group: Sequence[JudgedRound]) -> tuple[str, ...]:
    gaps = [judged.gap.ms for judged in group if judged.gap and judged.back]
    site = [judged.site_gap.ms for judged in group if judged.site_gap and judged.back]
    rejoin = [judged.round["settled"] - judged.round["healing"] for judged in group]
    lost = sum(len(judged.account.lost) for judged in group)
    away = sum(not judged.back for judged in group)
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


def left_out(evidence: DbFailoverEvidence) -> dict[str, list[str]]:
    """Kinds that were left out, by the reason."""
    reasons = evidence.left_out
    distinct = sorted(set(reasons.values()))
    return {reason: [name for name in reasons if reasons[name] == reason] for reason in distinct}


def page(evidence: DbFailoverEvidence) -> str:
    """Kinds, and what each round's gap went into."""
    from experiments.engine.report import TEMPLATES

    rounds = judged_rounds(evidence)
    return TEMPLATES.get_template("db_failover.html.j2").render(
        evidence=evidence,
        columns=COLUMNS,
        kinds=rows_by_kind(rounds),
        what=WHAT,
        parts=PARTS if any(judged.parts for judged in rounds) else (),
        left_out=left_out(evidence),
        shown=_telling(rounds),
        rounds=len(rounds),
    )


def _telling(rounds: Sequence[JudgedRound], most: int = 40) -> list[JudgedRound]:
    """The rounds worth a row of their own: what went wrong first, then the longest gaps."""

    def weight(judged: JudgedRound) -> tuple[bool, float]:
        account = judged.account
        wrong = bool(account.lost or account.duplicated or account.two_primaries or account.diverged or not judged.back)
        return wrong, judged.gap.ms if judged.gap else float("inf")

    return sorted(rounds, key=weight, reverse=True)[:most]


# --- plots ---------------------------------------------------------------------------------------------------------


def plots(evidence: DbFailoverEvidence) -> list[Plot]:
    """Those that there is something to draw for."""
    rounds = judged_rounds(evidence)
    return [*_around(rounds), *_gaps(rounds), *_parts(rounds)]


def _around(rounds: Sequence[JudgedRound]) -> Iterator[Plot]:
    """Acknowledged writes of the first round with a gap of the usual length, for a crash (or whatever there is)."""
    seen = [judged for judged in rounds if judged.gap]
    crashes = [judged for judged in seen if judged.scenario == "crash"]
    pick = sorted(crashes or seen, key=lambda judged: judged.gap.ms if judged.gap else 0)
    if not pick:
        return
    judged = pick[len(pick) // 2]
    origin = judged.round["began"]
    series = [
        Series(label, [(when - origin) * 1000 for when in answers], list(range(1, len(answers) + 1)))
        for label, way in (("at the endpoint", "endpoint"), ("through the site", "site"))
        if (answers := judged.answers(way))
    ]
    last = (max(judged.answers() + judged.answers("site")) - origin) * 1000
    events = [*((event["time"], event["event"]) for event in judged.round["events"]), (judged.round["healing"], "heal")]
    marks = [Mark((when - origin) * 1000, what) for when, what in [(origin, judged.scenario), *events]]
    yield Plot(
        "Acknowledged writes around a fault",
        "ms since the fault",
        "writes acknowledged",
        series,
        "steps",
        [mark for mark in marks if mark.x <= last],
        note=judged.name,
    )


def _gaps(rounds: Sequence[JudgedRound]) -> Iterator[Plot]:
    """The times without an acknowledged write, for every scenario."""
    by_kind = {
        scenario.name: [judged.gap.ms for judged in rounds if judged.scenario == scenario.name and judged.gap]
        for scenario in DATABASE
    }
    series = [Series(kind, gaps) for kind, gaps in by_kind.items() if gaps]
    if series:
        groups = {SYMPTOMS[judged.scenario] for judged in rounds}
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


def _parts(rounds: Sequence[JudgedRound]) -> Iterator[Plot]:
    """The median of each part of the gap, for each scenario."""
    parted = {judged.scenario for judged in rounds if judged.parts}
    kinds = [scenario.name for scenario in DATABASE if scenario.name in parted]

    def middle(part: str, kind: str) -> float:
        return median(judged.parts[part] for judged in rounds if judged.scenario == kind and judged.parts)

    series = [Series(part, kinds, [middle(part, kind) for kind in kinds]) for part in PARTS]
    if kinds:
        yield Plot(
            "What the write gap is made of",
            "kind of fault",
            "median ms",
            [part for part in series if any(part.y)],
            "stacked",
        )
