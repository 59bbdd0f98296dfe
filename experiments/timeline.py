"""How the journey is shown: a timeline on the terminal, a sequence diagram in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from experiments.base import Verdict
from experiments.report import TEMPLATES
from experiments.steps import Step

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}

# the diagram's measures, in SVG units
LANE, TOP, ROW, MARGIN = 140, 70, 58, 110


def timeline(evidence: Mapping[str, Any], steps: Sequence[Step], verdict: Verdict) -> RenderableType:
    """Each step with when, how long, whether it could be read on the way, and where the proof is."""
    start = steps[0].at or 0.0
    shown: list[RenderableType] = []
    for step in steps:
        mark, style = MARKS[step.holds]
        shown.append(
            Text.assemble(
                (f"{step.number:2} {mark} ", style),
                (step.title, "bold"),
                f"  {_between(step)}",
                (_when(step, start), "cyan"),
            )
        )
        proofs = "  ".join(dict.fromkeys(str(proof) for proof in step.proofs))
        shown.append(Padding(Text.assemble(step.seen, *_how(step)), (0, 0, 0, 5)))
        if proofs:
            shown.append(Padding(Text(f"proof: {proofs}", style="dim"), (0, 0, 0, 5)))
    numbers = verdict.numbers
    lost = sum(capture["dropped"] or 0 for capture in evidence["captures"])
    shown.append(
        Text(
            f"{numbers['requests']} requests in {numbers['visit_ms']:.0f} ms; {numbers['packets']} packets captured on "
            f"{len(evidence['captures'])} interfaces, {lost} lost"
        )
    )
    return Group(*shown)


def _between(step: Step) -> str:
    return step.who if step.who == step.whom else f"{step.who} → {step.whom}"


def _when(step: Step, start: float) -> str:
    when = f"  +{(step.at - start) * 1000:.1f} ms" if step.at is not None else ""
    return when + (f", took {step.ms:.2f} ms" if step.ms is not None else "")


def _how(step: Step) -> list[tuple[str, str]]:
    if step.encrypted is None:
        return []
    return [("  encrypted", "green")] if step.encrypted else [("  readable on the way", "red")]


@dataclass(frozen=True)
class Arrow:
    """One step in the diagram: from lane ``x1`` to lane ``x2`` (equal: a note on one lane) at height ``y``."""

    step: Step
    x1: int
    x2: int
    y: int


def page(evidence: Mapping[str, Any], steps: Sequence[Step]) -> str:
    """The sequence diagram and the table of steps, as HTML."""
    lanes = _lanes(evidence, steps)
    arrows = [
        Arrow(step, _x(lanes, step.who), _x(lanes, step.whom), TOP + ROW * number)
        for number, step in enumerate(steps, start=1)
    ]
    html = TEMPLATES.get_template("journey.html.j2").render(
        evidence=evidence,
        steps=steps,
        start=steps[0].at or 0.0,
        lanes=[(name, MARGIN + LANE * index) for index, name in enumerate(lanes)],
        arrows=arrows,
        width=2 * MARGIN + LANE * (len(lanes) - 1),
        height=TOP + ROW * (len(steps) + 1),
        top=TOP,
        marks=MARKS,
    )
    return Markup(html)


def _lanes(evidence: Mapping[str, Any], steps: Sequence[Step]) -> list[str]:
    """The participants from left to right: outside to inside."""
    server = next((step.whom for step in steps if step.number == 6 and step.whom in evidence["hosts"]), "nginx")
    firewall = evidence["firewalls"].get(server, "firewall")
    return ["browser", "dns", "lb", firewall, server, "app", "database"]


def _x(lanes: list[str], who: str) -> int:
    names = {"client": "browser", "user": "browser", "nginx": lanes[4]}
    name = names.get(who.split(" ")[0], who.split(" ")[0])
    return MARGIN + LANE * (lanes.index(name) if name in lanes else 0)
