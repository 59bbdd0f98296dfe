"""Windows: what each fault cost, from the requests, the timeline and the balancer's changes of mind. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from experiments.instruments.load import Outcome

#: the phase of the timeline in which the faults are that count
PHASE = "faults"
BEFORE_SECONDS = 1.0
#: requests that others must have answered in a fault that the balancer did not see, to prove it in force
FEWEST = 3
SHOWN = ("before", "during", "after")
TIMELINE = {"fault": "began", "fault in force": "force", "heal": "heal", "healed": "healed", "rejoined": "rejoined"}


@dataclass
class Window:
    """One fault. Times are s since 1970; None is what never came."""

    scenario: str
    symptom: str
    server: str
    load: str
    began: float
    force: float | None = None
    heal: float | None = None
    healed: float | None = None
    rejoined: float | None = None
    #: requests: those that waited when it began or came due until healing; due before, in force, while healing, after
    met: Sequence[Outcome] = ()
    before: Sequence[Outcome] = ()
    inside: Sequence[Outcome] = ()
    healing: Sequence[Outcome] = ()
    after: Sequence[Outcome] = ()
    detected: float | None = None
    answers_again: float | None = None

    @property
    def name(self) -> str:
        return f"{self.scenario} on {self.server}"

    @property
    def failed(self) -> int:
        return sum(not request.ok for request in self.met) + sum(not request.ok for request in self.healing)

    @property
    def usual_s(self) -> float:
        """The median latency just before."""
        return median([request.latency_s for request in self.before if request.ok] or [0.0])

    @property
    def added_ms(self) -> float | None:
        """The latency above the usual one (ms) of the slowest request that met the fault."""
        return self._slowest_ms(self.met)

    @property
    def added_healing_ms(self) -> float | None:
        """The same for those that came due between healing and the server's return."""
        return self._slowest_ms(self.healing)

    def _slowest_ms(self, group: Sequence[Outcome]) -> float | None:
        return max(0.0, max(request.latency_s for request in group) - self.usual_s) * 1000 if group else None

    @property
    def detected_ms(self) -> float | None:
        return (self.detected - self.began) * 1000 if self.detected is not None else None

    @property
    def rejoin_ms(self) -> float | None:
        """From healed until the server answers visitors again."""
        if self.answers_again is None or self.healed is None:
            return None
        return max(0.0, self.answers_again - self.healed) * 1000

    @property
    def in_force(self) -> bool | None:
        """Was the server gone: suddenly silent, while others answered or the balancer's checks gave it up?

        None: too little was seen.
        """
        if self.force is None or self.heal is None:
            return None
        answered = [request for request in self.inside if request.ok and ended(request) < self.heal]
        if any(request.server == self.server for request in answered):
            return False
        had_answered = any(request.ok and request.server == self.server for request in self.before)
        given_up = self.detected is not None and self.detected < self.heal
        return True if had_answered and (given_up or len(answered) >= FEWEST) else None

    @property
    def shares(self) -> dict[str, float | None]:
        """The server's share of the answers before it, while it was in force, and after its return."""
        until = self.heal if self.heal is not None else float("inf")
        inside = [request for request in self.inside if ended(request) < until]
        return {name: self._share(group) for name, group in zip(SHOWN, (self.before, inside, self.after), strict=True)}

    def _share(self, group: Sequence[Outcome]) -> float | None:
        good = [request for request in group if request.ok]
        return sum(request.server == self.server for request in good) / len(good) if good else None


def ended(outcome: Outcome) -> float:
    """When the answer was there, or given up."""
    return outcome.time + outcome.latency_s


def windows(
    faults: Sequence[Mapping[str, Any]],
    timeline: Sequence[Mapping[str, Any]],
    requests: Sequence[Outcome],
    changes: Sequence[Mapping[str, Any]],
    patience_s: float,
) -> list[Window]:
    """One for each fault of the timeline; ``requests`` sorted by due time. Raises ValueError when they do not match."""
    faulted = _timed(faults, timeline)
    moments = [request.time for request in requests]
    for window, following in zip(faulted, [*faulted[1:], None], strict=False):
        end = following.began if following else float("inf")
        _fill(window, end, requests, moments, patience_s)
        window.detected = next(
            (row["time"] for row in changes if row["server"] == window.server and not row["up"]
             and window.began <= row["time"] < end),
            None,
        )  # fmt: skip
    return faulted


def _timed(faults: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]) -> list[Window]:
    faulted: list[Window] = []
    counts = False
    for row in timeline:
        if row["what"] == "phase":
            counts = row["name"] == PHASE
        elif counts and row["what"] == "fault":
            about = faults[len(faulted)]
            if row["fault"] != about["fault"]:
                raise ValueError(f"the timeline tells of {row['fault']!r} where {about['fault']!r} was chosen")
            faulted.append(Window(about["scenario"], about["symptom"], about["server"], about["load"], row["time"]))
        elif counts and row["what"] in TIMELINE:
            setattr(faulted[-1], TIMELINE[row["what"]], row["time"])
    if len(faulted) != len(faults):
        raise ValueError(f"{len(faults)} faults were chosen, and the timeline tells of {len(faulted)}")
    return faulted


def _fill(window: Window, end: float, requests: Sequence[Outcome], moments: Sequence[float], patience_s: float) -> None:
    def due(start: float, stop: float) -> Sequence[Outcome]:
        return requests[bisect_left(moments, start) : bisect_left(moments, stop)]

    heal = window.heal if window.heal is not None else end
    rejoined = window.rejoined if window.rejoined is not None else end
    window.before = due(window.began - BEFORE_SECONDS, window.began)
    window.met = [request for request in due(window.began - 2 * patience_s, heal) if ended(request) > window.began]
    window.inside = due(window.force, heal) if window.force is not None else ()
    window.healing = due(heal, rejoined)
    window.after = due(rejoined, min(end, rejoined + BEFORE_SECONDS))
    again = (
        ended(request)
        for request in due(heal - patience_s, end)
        if request.ok and request.server == window.server and ended(request) > heal
    )
    window.answers_again = min(again, default=None)


def false_alarms(faulted: Iterable[Window], changes: Sequence[Mapping[str, Any]]) -> int:
    """The number of times that the balancer gave a server up that no fault had hit."""
    hit = [(window.server, window.began, window.rejoined or float("inf")) for window in faulted]
    return sum(
        not row["up"]
        and not any(server == row["server"] and began <= row["time"] <= until for server, began, until in hit)
        for row in changes
    )
