"""``firewall_matrix`` on the terminal and in report.html: sources by destinations, and what is wrong between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.engine.plots import Plot, Series
from experiments.engine.report import TEMPLATES
from experiments.firewall_matrix import answers
from experiments.firewall_matrix.answers import KINDS
from experiments.firewall_matrix.checks import Findings, findings
from experiments.firewall_matrix.evidence import MatrixEvidence, PairRow, TryRow
from experiments.firewall_matrix.malformed import may_arrive

LEAK, OVER_BLOCK, INCONCLUSIVE, OPEN, SHUT = "leak", "over-block", "inconclusive", "open", "shut"
STYLES = {LEAK: "bold red", OVER_BLOCK: "bold magenta", INCONCLUSIVE: "yellow", OPEN: "green", SHUT: "dim"}
CLASSES = {LEAK: "bad", OVER_BLOCK: "bad", INCONCLUSIVE: "open", OPEN: "good", SHUT: "faint"}
LEGEND = (
    ("as the policy says", OPEN),
    ("· nothing arrives", SHUT),
    ("a leak", LEAK),
    ("an over-block", OVER_BLOCK),
    ("probes were lost", INCONCLUSIVE),
)
MOST_LINES, MOST_INTERVALS = 12, 2


def state(pair: PairRow) -> str:
    """The worst that is to be said of a pair."""
    mismatches = answers.mismatches(pair)
    if any(not mismatch.allowed for mismatch in mismatches) or pair["wire"]["strays"]:
        return LEAK
    if mismatches:
        return OVER_BLOCK
    if not answers.exact(pair["wire"]):
        return INCONCLUSIVE
    return OPEN if pair["wire"]["arrivals"] else SHUT


def lines(pair: PairRow) -> list[str]:
    """The values that arrived, a line for each kind: ``tcp 80,443``."""
    came = pair["wire"]["arrived"]
    return [f"{kind} {answers.ranges(came[kind], MOST_INTERVALS)}" for kind in KINDS if came.get(kind)] or ["·"]


def by_ends(evidence: MatrixEvidence) -> dict[tuple[str, str], PairRow]:
    """The pairs that were looked at, by source and destination."""
    return {(pair["src"], pair["dst"]): pair for pair in evidence.pairs}


def shown(evidence: MatrixEvidence) -> RenderableType:
    """The matrix, then all that is wrong or doubtful."""
    table = Table(padding=0, header_style="bold", show_lines=True)
    table.add_column("from", no_wrap=True, style="bold")
    for host in evidence.hosts:
        table.add_column(host, overflow="fold")
    pairs = by_ends(evidence)
    for src in evidence.hosts:
        table.add_row(src, *(_cell(pairs.get((src, dst))) for dst in evidence.hosts))
    findings_seen = findings(evidence)
    legend = [part for words, what in LEGEND for part in ((words, STYLES[what]), "   ")]
    return Group(table, Text.assemble(*legend), _numbers(findings_seen), *_lines(findings_seen))


def _cell(pair: PairRow | None) -> Text:
    return Text("\n".join(lines(pair)), STYLES[state(pair)]) if pair else Text("")


def _numbers(findings: Findings) -> str:
    said = "{probes:,} probes, {probes_per_s:,} a second; {flows} flows proved in {proof_ms:.0f} ms; "
    return (said + "{traces} classes traced; {malformed} malformed packets, {malformed_wrong} wrong").format(
        **findings.numbers
    )


def _lines(findings: Findings) -> list[str]:
    return [*_first(findings.wrong), *_first([f"doubt: {doubt}" for doubt in findings.doubts])]


def _first(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - MOST_LINES} more, in report.html"] if len(lines) > MOST_LINES else []
    return [*lines[:MOST_LINES], *more]


def page(evidence: MatrixEvidence) -> str:
    """The same as HTML, with where the probes of each pair ended."""
    return TEMPLATES.get_template("firewall_matrix.html.j2").render(
        evidence=evidence,
        found=findings(evidence),
        pairs=by_ends(evidence),
        state=state,
        lines=lines,
        classes=CLASSES,
        lost=answers.lost,
        malformed=malformed_kinds(evidence.malformed),
    )


def malformed_kinds(tries: Sequence[TryRow]) -> list[dict[str, Any]]:
    """A row for each kind of packet: {"packet", "may", "why", "tried", "refused", "open", "open_arrived", ...}."""
    kinds: dict[str, list[TryRow]] = {}
    for row in tries:
        kinds.setdefault(row["packet"], []).append(row)
    return [_kind(name, rows) for name, rows in kinds.items()]


def _kind(name: str, rows: Sequence[TryRow]) -> dict[str, Any]:
    may = {allowed: [row for row in rows if may_arrive(row) == allowed] for allowed in (True, False)}
    return {
        "packet": name,
        "may": rows[0]["may"],
        "why": rows[0]["why"],
        "tried": len(rows),
        "refused": sorted({row["refused"] for row in rows if row["refused"]}),
        "open": len(may[True]),
        "open_arrived": sum(bool(row["arrived"]) for row in may[True]),
        "closed": len(may[False]),
        "closed_arrived": sum(bool(row["arrived"]) for row in may[False]),
    }


def plots(evidence: MatrixEvidence) -> list[Plot]:
    """The packets that each rule stopped, by switch."""
    counts: dict[str, dict[str, int]] = {}
    for pair in evidence.pairs:
        for switch, names in pair["wire"]["stopped"].items():
            for name, number in names.items():
                counts.setdefault(name, {}).setdefault(switch, 0)
                counts[name][switch] += number
    switches = sorted({switch for by_switch in counts.values() for switch in by_switch})
    series = [
        Series(name, switches, [by_switch.get(switch, 0) for switch in switches])
        for name, by_switch in sorted(counts.items())
    ]
    return [Plot("Where packets were stopped", "switch", "packets", series, kind="bars", log="y")]
