"""A run of ``monitoring`` as it is shown: faults and their alerts, and what was compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.engine import markup
from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.verdict import Verdict
from experiments.monitoring.checks import delays, off
from experiments.monitoring.evidence import MonitoringEvidence
from experiments.monitoring.expectations import LATE_S

COLUMNS = ("fault", "alert", "at", "after s")


def show(evidence: MonitoringEvidence, _: Verdict) -> str:
    """A line for each fault, and one for each comparison."""
    rows = [COLUMNS, *fault_rows(evidence)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*table, "", *story(evidence)])


def fault_rows(evidence: MonitoringEvidence) -> list[tuple[str, ...]]:
    """The values of ``COLUMNS`` for every fault."""
    return [
        (
            row["fault"],
            row["alert"] or ("none" if row["alerts"] else "none needed"),
            ", ".join(row["hosts"]),
            "-" if row["fired"] is None else f"{row['fired'] - row['began']:.2f}",
        )
        for row in evidence.faults
    ]


def story(evidence: MonitoringEvidence) -> Iterator[str]:
    """The comparisons, in words."""
    if evidence.clean:
        wrong = sum(row["truth"] != row["told"] for row in evidence.counts)
        total = sum(row["truth"] for row in evidence.counts)
        began, ended = evidence.clean
        sums = f"{wrong} of {len(evidence.counts)} sums wrong"
        yield f"without a fault for {ended - began:.0f} s: {total:,} requests, {sums}"
        seconds = sum(bool(off(row)) for row in evidence.seconds)
        yield f"each second by itself: {seconds} of {len(evidence.seconds)} wrong"
    for row in evidence.processor:
        yield f"processor of {row['host']}: {row['truth_s']:.2f} s, told {row['told_s']:.2f} s"
    if evidence.logs:
        written, stored = (sum(row[name] for row in evidence.logs) for name in ("written", "stored"))
        yield f"log lines: {written:,} written, {stored:,} stored, {sum(row['copies'] for row in evidence.logs)} copies"
    for away in evidence.away:
        yield (
            f"{away['fault']} for {away['seconds']:.0f} s: {away['lost']} of {away['lines']:,} lines lost, "
            f"longest step between samples {away['longest_step_s']:.2f} s"
        )


def page(evidence: MonitoringEvidence) -> str:
    """The same as tables of report.html."""
    return markup.page([[COLUMNS, *fault_rows(evidence)]], story(evidence))


def plots(evidence: MonitoringEvidence) -> Sequence[Plot]:
    """The time from fault to alert, and requests per second as they were and as they were told."""
    known = [delay for _, delay in delays(evidence.faults) if delay is not None]
    drawn = []
    if known:
        drawn.append(
            Plot(
                "From fault to alert",
                "time (s)",
                "share of faults",
                [Series("alerts", sorted(known), [])],
                "ecdf",
                [Mark(LATE_S, "target")],
            )
        )
    return drawn
