"""How the journey is shown: a timeline on the terminal, a sequence diagram in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from experiments.engine.report import TEMPLATES
from experiments.engine.verdict import Verdict
from experiments.journey.checks import Seen, Step

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
INDENT = (0, 0, 0, 5)

# the diagram's measures, in SVG units
LANE, TOP, ROW, MARGIN = 140, 70, 58, 110
# who stands on whose lane
LANES = {"client": "browser", "user": "browser"}


def timeline(evidence: Mapping[str, Any], steps: Sequence[Step], verdict: Verdict) -> RenderableType:
    """Each step with when, how long, whether it could be read on the way, and where the proof is."""
    start = _start(evidence)
    shown: list[RenderableType] = []
    for step in steps:
        mark, style = MARKS[step.holds]
        shown.append(Text.assemble((f"{step.number:2} {mark} ", style), (step.title, "bold")))
        if step.seen:
            shown.append(Padding(_facts(step.seen, start), INDENT))
        shown.append(Padding(Text(step.what), INDENT))
        if step.seen:
            proofs = "  ".join(dict.fromkeys(str(proof) for proof in step.seen.proofs))
            shown.append(Padding(Text(f"see {proofs}", style="dim"), INDENT))
    return Group(*shown, _total(evidence, verdict.numbers))


def _total(evidence: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    lost = sum(capture["dropped"] or 0 for capture in evidence["captures"])
    return (
        f"{numbers['requests']} requests in {numbers['visit_ms']:.0f} ms; {numbers['packets']} packets captured on "
        f"{len(evidence['captures'])} interfaces, {lost} lost"
    )


def _start(evidence: Mapping[str, Any]) -> float:
    return float(evidence["visit"]["requests"][0]["time"])


def _facts(seen: Seen, start: float) -> Text:
    """Who to whom, when, how long, and whether it could be read on the way."""
    between = seen.who if seen.who == seen.whom else f"{seen.who} → {seen.whom}"
    took = f", took {seen.ms:.2f} ms" if seen.ms is not None else ""
    facts = Text(f"{between}  +{(seen.at - start) * 1000:.1f} ms{took}", style="cyan")
    if seen.encrypted is not None:
        facts.append("  encrypted" if seen.encrypted else "  readable on the way", "green" if seen.encrypted else "red")
    return facts


@dataclass(frozen=True)
class Arrow:
    """One step in the diagram: from lane ``x1`` to lane ``x2`` (equal: a dot on one lane) at height ``y``."""

    step: Step
    x1: int
    x2: int
    y: int


def page(evidence: Mapping[str, Any], steps: Sequence[Step]) -> str:
    """The sequence diagram and the table of steps, as HTML."""
    lanes = _lanes(evidence, steps)
    return TEMPLATES.get_template("journey.html.j2").render(
        evidence=evidence,
        steps=steps,
        start=_start(evidence),
        lanes=[(name, MARGIN + LANE * index) for index, name in enumerate(lanes)],
        arrows=[_arrow(step, lanes) for step in steps],
        width=2 * MARGIN + LANE * (len(lanes) - 1),
        height=TOP + ROW * (len(steps) + 1),
        top=TOP,
        marks=MARKS,
    )


def _lanes(evidence: Mapping[str, Any], steps: Sequence[Step]) -> list[str]:
    """The participants from left to right, outside to inside."""
    passed = next((step.seen for step in steps if step.seen and step.seen.whom in evidence["firewalls"]), None)
    server = passed.whom if passed else "server"
    return ["browser", "dns", "lb", evidence["firewalls"].get(server, "firewall"), server, "app", "database"]


def _arrow(step: Step, lanes: list[str]) -> Arrow:
    """Where a step goes; one that nobody saw is a dot on the left."""
    who, whom = (step.seen.who, step.seen.whom) if step.seen else (lanes[0], lanes[0])
    return Arrow(step, _x(who, lanes), _x(whom, lanes), TOP + ROW * step.number)


def _x(who: str, lanes: list[str]) -> int:
    name, _, place = who.partition(" ")
    name = place.strip("()") if name == "nginx" else LANES.get(name, name)
    return MARGIN + LANE * (lanes.index(name) if name in lanes else 0)
