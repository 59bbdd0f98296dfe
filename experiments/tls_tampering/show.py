"""``tls_tampering`` as it is shown: the events in a few lines, and every request as a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.report import TEMPLATES
from experiments.engine.verdict import Verdict
from experiments.tls_tampering.checks import changed_answers, judge
from experiments.tls_tampering.evidence import ImpostorEvent, TamperingEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType


def show(evidence: TamperingEvidence, verdict: Verdict) -> RenderableType:
    """The events, a line each."""
    return "\n".join(f"{subject:17} {what}" for subject, what in story(evidence, verdict.numbers))


def page(evidence: TamperingEvidence) -> str:
    """The same as HTML."""
    lines = story(evidence, judge(evidence).numbers)
    return TEMPLATES.get_template("tampering.html.j2").render(evidence=evidence, lines=lines)


def plots(evidence: TamperingEvidence) -> Sequence[Plot]:
    """Every request by its due time and its latency, with the redirection's beginning and end."""
    if not evidence.asked:
        return ()
    start, moments = evidence.asked[0]["time"], evidence.redirect
    series = [
        Series(label, [row["time"] - start for row in rows], [row["ms"] for row in rows])
        for label, rows in _by_fate(evidence.asked).items()
    ]
    marks = [Mark(moments["from"] - start, "redirected"), Mark(moments["to"] - start, "healed")]
    title = "Requests while the machine in the middle is there"
    return (Plot(title, "time (s)", "latency (ms)", series, "scatter", marks, log="y"),)


def _by_fate(asked: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    fates: dict[str, list[Mapping[str, Any]]] = {}
    for row in asked:
        fate = "changed" if row["changed"] else "failed" if row["error"] else f"from {row['server'] or 'no server'}"
        fates.setdefault(fate, []).append(row)
    return dict(sorted(fates.items()))


def story(evidence: TamperingEvidence, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The events in a few lines: (subject, what)."""
    lines = [
        ("asked", f"{len(evidence.asked)} times, {numbers['asked_meanwhile']} of them while redirected"),
        *((f"answered {phase}", _shares(numbers[phase])) for phase in ("before", "meanwhile", "after")),
        ("redirected", f"{numbers['packets_redirected']} packets, {numbers['connections_to_impostor']} connections"),
        *(("in the middle", _event(row)) for row in evidence.impostor if row["what"] in ("changed", "refused")),
        *(("balancer", row["line"]) for row in evidence.alarms),
        ("visitors", f"{numbers['changed']} changed answers, {numbers['failed']} failed requests"),
    ]
    if changed := changed_answers(evidence):
        lines.append(("a visitor", f"read {evidence.line!r} in request {changed[0]['request_id']}"))
    return lines


def _shares(by_server: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in by_server.items()) or "by none"


def _event(row: ImpostorEvent) -> str:
    return f"{row['what']} {row['times']} times" + (f": {row['why']}" if row["why"] else "")
