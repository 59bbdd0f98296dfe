"""What is shown of a run of ``web_failover``: a table on the terminal, and a part of report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.engine.base import Evidence
from experiments.engine.distribution import quantile
from experiments.instruments.load import rows
from experiments.web_failover.checks import account, by_kind
from experiments.web_failover.choice import KINDS
from experiments.web_failover.windows import SHOWN, Window

COLUMNS = (
    "fault", "n", "failed", "seen ms: median", "max", "added ms: median", "p99", "max", "rejoin ms", "share before",
    "during", "after",
)  # fmt: skip
MOST = 40


def table(evidence: Evidence, numbers: Mapping[str, Any]) -> str:
    """A row for each kind of fault, and the sums, as text."""
    cells = [COLUMNS, *rows_by_kind(account(evidence, rows(evidence["requests"])))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([*lines, *story(numbers)])


def rows_by_kind(found: Sequence[Window]) -> list[tuple[str, ...]]:
    """What `COLUMNS` names, for each kind of fault that was injected."""
    return [_row(kind, group) for kind, group in by_kind(found).items()]


def _row(kind: str, group: Sequence[Window]) -> tuple[str, ...]:
    seen, added, rejoin = (
        sorted(value for each in group if (value := getattr(each, name)) is not None)
        for name in ("detected_ms", "added_ms", "rejoin_ms")
    )
    return (
        kind,
        str(len(group)),
        str(sum(each.failed for each in group)),
        *_ms(seen, 0.5, 1),
        *_ms(added, 0.5, 0.99, 1),
        *_ms(rejoin, 0.5),
        *(_share([each.shares[when] for each in group]) for when in SHOWN),
    )


def _ms(ordered: Sequence[float], *shares: float) -> tuple[str, ...]:
    return tuple(f"{quantile(ordered, share):.0f}" if ordered else "-" for share in shares)


def _share(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.0%}" if known else "-"


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
    from experiments.engine.report import TEMPLATES

    found = account(evidence, rows(evidence["requests"])) if numbers else []
    return TEMPLATES.get_template("failover.html.j2").render(
        evidence=evidence,
        columns=COLUMNS,
        kinds=rows_by_kind(found),
        lines=story(numbers) if numbers else [],
        what={name: kind.what for name, kind in KINDS.items()},
        shown=_telling(found),
        began=found[0].began if found else 0.0,
        faults=len(found),
    )


def _telling(found: Sequence[Window]) -> list[Window]:
    """What failed most first, then what took longest."""
    return sorted(found, key=lambda each: (each.failed, each.added_ms or 0.0), reverse=True)[:MOST]
