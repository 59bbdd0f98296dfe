"""Everything the benchmarks show to a person: progress, the table, notes and a boot's waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.comparison import Report, Tell
from testbed.plainconsole import PlainConsole
from testbed.render import Waterfall

aside_console = PlainConsole(stderr=True)
console = PlainConsole()


@contextmanager
def progress(name: str) -> Iterator[Tell]:
    """A line on standard error that says how far a benchmark is; only on a terminal."""
    with aside_console.status(f"{name}: boots") as status:
        yield lambda text: status.update(f"{name}: {text}")


def show(reports: Mapping[str, Report], rows: list[dict[str, Any]], *, aside: bool) -> None:
    """Waterfalls, the table and the notes; ``aside``: on standard error, without the table, which JSON has replaced."""
    chosen = aside_console if aside else console
    for report in reports.values():
        if report.waterfall:
            chosen.print(waterfall(report.waterfall))
    if not aside:
        chosen.print(measures(rows))
        chosen.print(references(rows), soft_wrap=True)
    for report in reports.values():
        for note in report.notes:
            chosen.print(note, soft_wrap=True)


def measures(rows: list[dict[str, Any]]) -> Table:
    """One line for each measure, below the name of its benchmark; 80 columns are enough."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in ("measure", "ours", "reference", "ratio", "95 %", "target", "met"):
        table.add_column(column, justify="left" if column in ("measure", "met") else "right", no_wrap=True)
    shown = ""
    for row in rows:
        if row["benchmark"] != shown:
            shown = row["benchmark"]
            table.add_row(Text(shown, style="bold"))
        table.add_row(
            f"  {row['measure']}",
            f"{number(row['ours'])} {row['unit']}",
            number(row["reference"]),
            number(row["ratio"]),
            "-" if None in row["interval"] else "-".join(number(bound) for bound in row["interval"]),
            row["target"],
            Text("yes", style="green") if row["met"] else Text("no", style="red"),
        )
    return table


def references(rows: list[dict[str, Any]]) -> str:
    """The reference of each measure, in one line for each benchmark."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        lines.setdefault(row["benchmark"], []).append(f"{row['measure']} with {row['reference_name']}")
    return "\n".join(f"{name}: compared: {'; '.join(parts)}" for name, parts in lines.items())


def number(value: float | None) -> str:
    """Three digits that mean something, without exponents."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def waterfall(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """A boot's times, as the boot itself shows them."""
    shown = Waterfall()
    for what, times in rows.items():
        for phase, seconds in times.items():
            shown.mark(what, phase, seconds)
    return shown.table()
