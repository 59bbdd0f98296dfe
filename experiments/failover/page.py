"""What is shown of a run of ``web_failover``: a table on the terminal, and a part of report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.base import Evidence
from experiments.failover.choice import KINDS
from experiments.failover.judge import account
from experiments.failover.windows import Window
from experiments.load import rows

COLUMNS = (
    "fault", "n", "failed", "seen ms: median", "max", "added ms: median", "p99", "max", "rejoin ms", "share before",
    "during", "after",
)  # fmt: skip
MOST = 40


def table(numbers: Mapping[str, Any]) -> str:
    """A row for each kind of fault, and the sums, as text."""
    cells = [COLUMNS, *rows_by_kind(numbers)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([*lines, *story(numbers)])


def rows_by_kind(numbers: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What `COLUMNS` names, for each kind of fault that was injected."""
    return [
        (
            kind,
            str(of["faults"]),
            str(of["failed"]),
            *_ms(of["detected_ms"], "median", "max"),
            *_ms(of["added_ms"], "median", "p99", "max"),
            *_ms(of["rejoin_ms"], "median"),
            *(_share(of[f"share_{when}"]) for when in ("before", "during", "after")),
        )
        for kind, of in numbers["by_fault"].items()
    ]


def _ms(spread: Mapping[str, Any], *which: str) -> tuple[str, ...]:
    return tuple(f"{spread[each]:.0f}" if spread["n"] else "-" for each in which)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def story(numbers: Mapping[str, Any]) -> list[str]:
    """The sums, in words."""
    capacity = numbers["capacity"]
    rates = ", ".join(f"{rate:g} ({name})" for name, rate in numbers["rates_per_s"].items())
    posts, twice, lost = (f"{numbers[each]:,}" for each in ("posts", "executed_twice", "lost_acknowledged"))
    return [
        f"{numbers['requests']:,} requests, {numbers['failed']:,} failed",
        f"{posts} posts, {twice} executed twice, {lost} acknowledged and lost",
        f"capacity {capacity['whole_per_s']:g}/s, {capacity['away_per_s']:g}/s while a server is away; asked: {rates}",
    ]


def html(evidence: Evidence, numbers: Mapping[str, Any]) -> str:
    """Kinds, and the faults worth a row of their own."""
    from experiments.report import TEMPLATES

    found = account(evidence, rows(evidence["requests"])) if numbers else []
    return TEMPLATES.get_template("failover.html.j2").render(
        evidence=evidence,
        columns=COLUMNS,
        kinds=rows_by_kind(numbers) if numbers else [],
        lines=story(numbers) if numbers else [],
        what={name: kind.what for name, kind in KINDS.items()},
        shown=_telling(found),
        began=found[0].began if found else 0.0,
        faults=len(found),
    )


def _telling(found: Sequence[Window]) -> list[Window]:
    """What failed most first, then what took longest."""
    return sorted(found, key=lambda each: (each.failed, each.added_ms or 0.0), reverse=True)[:MOST]
