"""What is shown of a run: a table on the terminal, and a part of report.html."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from experiments.db_failover.checks import Finding, findings
from experiments.db_failover.gap import PARTS
from experiments.db_failover.trouble import TROUBLES
from experiments.engine.base import Evidence
from experiments.engine.verdict import Verdict

COLUMNS = ("fault", "n", "gap ms: median", "max", "site: median", "max", "rejoin s", "lost", "not back")
WHAT = {each.name: each.what for each in TROUBLES}


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
    kinds = dict.fromkeys(each.name for each in TROUBLES)
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
