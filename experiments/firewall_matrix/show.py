"""How ``firewall_matrix`` is shown: sources by destinations, what is open between them, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.engine.plots import Plot, Series
from experiments.engine.report import TEMPLATES
from experiments.firewall_matrix import answers, malformed, oracles
from experiments.firewall_matrix.answers import KINDS
from experiments.firewall_matrix.checks import Findings, findings

Row = Mapping[str, Any]
HOLE, WALL, UNSURE, OPEN, SHUT = "hole", "wall", "unsure", "open", "shut"
STYLES = {HOLE: "bold red", WALL: "bold magenta", UNSURE: "yellow", OPEN: "green", SHUT: "dim"}
CLASSES = {HOLE: "bad", WALL: "bad", UNSURE: "open", OPEN: "good", SHUT: "faint"}
MOST_LINES, MOST_INTERVALS = 12, 2


def state(pair: Row) -> str:
    """The worst that is to be said of a pair."""
    found = oracles.mismatches(pair)
    if any(not each.allowed for each in found) or pair["wire"]["strays"]:
        return HOLE
    if found:
        return WALL
    if not oracles.exact(pair["wire"]):
        return UNSURE
    return OPEN if pair["wire"]["arrivals"] else SHUT


def lines(pair: Row) -> list[str]:
    """What arrived, a line for each kind: ``tcp 80,443``."""
    came = oracles.arrived(pair["wire"])
    return [f"{kind} {answers.ranges(came[kind], MOST_INTERVALS)}" for kind in KINDS if came[kind]] or ["·"]


def by_ends(evidence: Row) -> dict[tuple[str, str], Row]:
    """The pairs that were looked at, by source and destination."""
    return {(pair["src"], pair["dst"]): pair for pair in evidence["pairs"]}


def shown(evidence: Row) -> RenderableType:
    """The matrix, then what is wrong and what is doubtful."""
    table = Table(padding=0, header_style="bold", show_lines=True)
    table.add_column("from", no_wrap=True, style="bold")
    for host in evidence["hosts"]:
        table.add_column(host, overflow="fold")
    pairs = by_ends(evidence)
    for src in evidence["hosts"]:
        table.add_row(src, *(_cell(pairs.get((src, dst))) for dst in evidence["hosts"]))
    found = findings(evidence)
    return Group(table, Text.assemble(*_legend()), _numbers(found.numbers), *_told(found))


def _cell(pair: Row | None) -> Text:
    return Text("\n".join(lines(pair)), STYLES[state(pair)]) if pair else Text("")


def _legend() -> list[tuple[str, str] | str]:
    meanings = (
        ("as the policy says", OPEN),
        ("· nothing arrives", SHUT),
        ("a hole", HOLE),
        ("something is missing", WALL),
        ("probes were lost", UNSURE),
    )
    return [part for words, what in meanings for part in ((words, STYLES[what]), "   ")]


def _numbers(numbers: Row) -> str:
    said = "{probes:,} probes, {probes_per_s:,} a second; {flows} flows proved in {proof_ms:.0f} ms; "
    return (said + "{traces} classes traced; {odd} odd packets, {odd_wrong} wrong").format(**numbers)


def _told(found: Findings) -> list[str]:
    doubts = [f"doubt: {each}" for each in found.doubts]
    return [*_first(found.wrong), *_first(doubts)]


def _first(told: list[str] | tuple[str, ...]) -> list[str]:
    more = [f"and {len(told) - MOST_LINES} more, in report.html"] if len(told) > MOST_LINES else []
    return [*told[:MOST_LINES], *more]


def page(evidence: Row) -> str:
    """The same as HTML, with where the probes of each pair ended."""
    return TEMPLATES.get_template("firewall_matrix.html.j2").render(
        evidence=evidence,
        found=findings(evidence),
        pairs=by_ends(evidence),
        state=state,
        lines=lines,
        classes=CLASSES,
        lost=oracles.lost,
        odd=malformed.summary(evidence["odd"]),
    )


def plots(evidence: Row) -> list[Plot]:
    """Who stopped how much."""
    counts: dict[str, dict[str, int]] = {}
    for pair in evidence["pairs"]:
        for switch, names in pair["wire"]["stopped"].items():
            for name, number in names.items():
                counts.setdefault(name, {}).setdefault(switch, 0)
                counts[name][switch] += number
    switches = sorted({switch for told in counts.values() for switch in told})
    series = [Series(name, switches, [told.get(each, 0) for each in switches]) for name, told in sorted(counts.items())]
    return [Plot("Where packets were stopped", "switch", "packets", series, kind="bars", log="y")]
