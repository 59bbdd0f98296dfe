"""The write gap: how long no write was acknowledged, and what the time went into. Pure.

Times are seconds since 1970, gaps milliseconds. The parts of a gap always add up to it: what no event explains is
``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

#: the manager's event that ends each part, in their order
ENDS = {
    "detect": "detect",
    "fence": "fenced",
    "choose": "candidate",
    "drain": "drained",
    "promote": "promoted",
    "route": "routed",
    "follow": "repoint",
}
#: before: the last write answered before the fault; retry: from there to the next write's answer
PARTS = ("before", *ENDS, "retry", "unknown")


@dataclass(frozen=True)
class Gap:
    """``began``: the last answer before; ``ended``: the first one after. Both are answers that clients saw."""

    began: float
    ended: float

    @property
    def ms(self) -> float:
        return (self.ended - self.began) * 1000


def gap(answers: Sequence[float], fault: float, until: float) -> Gap | None:
    """The longest time between two answers that lies, at least in part, between the fault and ``until``.

    None when it has no end or no beginning: no answer after ``until``, or none before the fault.
    """
    ordered = sorted(answers)
    if not ordered or ordered[-1] < until or ordered[0] > fault:
        return None
    pairs = pairwise(ordered)
    around = [Gap(began, ended) for began, ended in pairs if ended > fault and began < until]
    return max(around, key=lambda pair: pair.ms, default=None)


def parts(whole: Gap, fault: float, events: Iterable[Mapping[str, Any]], *, lossless: bool = False) -> dict[str, float]:
    """The parts of the gap's time, by the manager's events: part -> ms, for every name in `PARTS`.

    ``lossless``: a commit waits for a replica, so the first write waits until one follows the new primary.
    """
    sums = dict.fromkeys(PARTS, 0.0)
    here = min(max(fault, whole.began), whole.ended)
    sums["before"] = (here - whole.began) * 1000
    ends = _ends(here, whole.ended, events, lossless=lossless)
    for part, when in sorted(ends.items(), key=lambda end: end[1]):
        sums[part if _explained(part, ends) else "unknown"] += (when - here) * 1000
        here = when
    sums["retry" if "route" in ends else "unknown"] += (whole.ended - here) * 1000
    return sums


def _ends(began: float, ended: float, events: Iterable[Mapping[str, Any]], *, lossless: bool) -> dict[str, float]:
    """When each part ended: the first detection, and of the others the last one within the gap.

    Fencing counts where the promotion waited for it, following where the first write had to.
    """
    within = [event for event in events if began <= event["time"] <= ended]
    times = {part: [float(event["time"]) for event in within if event["event"] == name] for part, name in ENDS.items()}
    sums = {part: min(when) if part == "detect" else max(when) for part, when in times.items() if when}
    if sums.get("fence", began) > sums.get("promote", ended):
        del sums["fence"]
    if not lossless or sums.get("follow", ended) < sums.get("route", began):
        sums.pop("follow", None)
    return sums


def _explained(part: str, ends: Mapping[str, float]) -> bool:
    """Is the step before it known? Else it is not known what the time up to its end went into."""
    if part == "fence":
        return "detect" in ends
    steps = [step for step in ENDS if step != "fence"]
    return part == steps[0] or steps[steps.index(part) - 1] in ends
