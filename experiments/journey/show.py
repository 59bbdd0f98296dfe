"""The journey as it is shown: a timeline on the terminal, a sequence diagram in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from experiments.engine.report import TEMPLATES
from experiments.engine.verdict import Verdict
from experiments.journey.checks import steps
from experiments.journey.evidence import JourneyEvidence
from experiments.journey.evidenceindex import EvidenceIndex, Unseen
from experiments.journey.steps import JourneyStep, StepObservation

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
INDENT = (0, 0, 0, 5)

# the diagram's measures, in SVG units
LANE, TOP, ROW, MARGIN = 140, 70, 58, 110
# participants that share a lane
LANES = {"client": "browser", "user": "browser"}


def show(evidence: JourneyEvidence, verdict: Verdict) -> RenderableType:
    """Each step with when, how long, whether it could be read on the way, and where the proof is."""
    start = _start(evidence)
    shown: list[RenderableType] = []
    for step in steps(evidence):
        mark, style = MARKS[step.holds]
        shown.append(Text.assemble((f"{step.number:2} {mark} ", style), (step.title, "bold")))
        if step.seen:
            shown.append(Padding(_facts(step.seen, start), INDENT))
        shown.append(Padding(Text(step.what), INDENT))
        if step.seen:
            proofs = "  ".join(dict.fromkeys(str(proof) for proof in step.seen.proofs))
            shown.append(Padding(Text(f"see {proofs}", style="dim"), INDENT))
    command = _logs_command(evidence)
    return Group(
        *shown, *((f"the same in the collected logs: {command}",) if command else ()), _total(evidence, verdict.numbers)
    )


def _logs_command(evidence: JourneyEvidence) -> str:
    """The command that shows the followed page's request in the logs of all tiers; nothing where it was not seen."""
    try:
        request = EvidenceIndex(evidence).shown["request_id"]
    except Unseen:
        return ""
    return f"python -m topo.foobar logs --request {request}" if request else ""


def _total(evidence: JourneyEvidence, numbers: Mapping[str, Any]) -> str:
    lost = sum(capture["dropped"] or 0 for capture in evidence.captures)
    return (
        f"{numbers['requests']} requests in {numbers['visit_ms']:.0f} ms; {numbers['packets']} packets captured on "
        f"{len(evidence.captures)} interfaces, {lost} lost"
    )


def _start(evidence: JourneyEvidence) -> float:
    return float(evidence.visit["requests"][0]["time"])


def _facts(seen: StepObservation, start: float) -> Text:
    """From where to where, when, how long, and whether it could be read on the way."""
    between = seen.src if seen.src == seen.dst else f"{seen.src} → {seen.dst}"
    took = f", took {seen.ms:.2f} ms" if seen.ms is not None else ""
    facts = Text(f"{between}  +{(seen.at - start) * 1000:.1f} ms{took}", style="cyan")
    if seen.encrypted is not None:
        facts.append("  encrypted" if seen.encrypted else "  readable on the way", "green" if seen.encrypted else "red")
    return facts


@dataclass(frozen=True)
class Arrow:
    """One step in the diagram: from lane ``x1`` to lane ``x2`` (equal: a dot on one lane) at height ``y``."""

    step: JourneyStep
    x1: int
    x2: int
    y: int


def page(evidence: JourneyEvidence) -> str:
    """The sequence diagram and the table of steps, as HTML."""
    taken = steps(evidence)
    lanes = _lanes(evidence, taken)
    return TEMPLATES.get_template("journey.html.j2").render(
        evidence=evidence,
        steps=taken,
        start=_start(evidence),
        lanes=[(name, MARGIN + LANE * index) for index, name in enumerate(lanes)],
        arrows=[_arrow(step, lanes) for step in taken],
        width=2 * MARGIN + LANE * (len(lanes) - 1),
        height=TOP + ROW * (len(taken) + 1),
        top=TOP,
        marks=MARKS,
        command=_logs_command(evidence),
        copies=list(dict.fromkeys(row["file"] for row in (*evidence.logs, *evidence.sql))),
    )


def _lanes(evidence: JourneyEvidence, taken: Sequence[JourneyStep]) -> list[str]:
    """The participants from left to right, outside to inside."""
    passed = next((step.seen for step in taken if step.seen and step.seen.dst in evidence.firewalls), None)
    server = passed.dst if passed else "server"
    return [
        "browser",
        evidence.resolver,
        evidence.balancer,
        evidence.firewalls.get(server, "firewall"),
        server,
        "app",
        "database",
    ]


def _arrow(step: JourneyStep, lanes: list[str]) -> Arrow:
    """A step's two lanes; one that was not seen is a dot on the left."""
    src, dst = (step.seen.src, step.seen.dst) if step.seen else (lanes[0], lanes[0])
    return Arrow(step, _x(src, lanes), _x(dst, lanes), TOP + ROW * step.number)


def _x(participant: str, lanes: list[str]) -> int:
    name, _, place = participant.partition(" ")
    name = place.strip("()") if name == "nginx" else LANES.get(name, name)
    return MARGIN + LANE * (lanes.index(name) if name in lanes else 0)
