"""The answer to a detection: an event, and for a visitor's host a block, whose time doubles with repetition. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.detection.detection import Detection

#: the first block, and the longest; a host that has behaved for so long afterwards begins anew
SHORTEST_S, LONGEST_S = 60.0, 3600.0
#: blocks at once, whoever asked for them: a mistake must not empty the internet
MOST = 4
#: what is said of a source, and not acted on, is not said again for so long
QUIET_S = 30.0


@dataclass
class Offences:
    """The blocks of one host so far."""

    count: int = 0
    until: float = 0.0


@dataclass(frozen=True)
class Answer:
    """``until``: the end of the block; None: nobody is blocked, and ``why`` not."""

    detection: Detection
    until: float | None
    why: str = ""

    @property
    def event(self) -> dict[str, Any]:
        return {**self.detection.as_dict(), "block": self.until, **({"why": self.why} if self.why else {})}


@dataclass
class Blocking:
    """``visitors``: the hosts that may be blocked; the site needs all others."""

    visitors: Collection[str]
    offences: dict[str, Offences] = field(default_factory=dict)
    _said: dict[tuple[str, str], float] = field(default_factory=dict)

    def answer(self, detection: Detection, now: float, standing: Mapping[str, float | None]) -> Answer | None:
        """The answer; None where all has been said. ``standing``: the end of each block in force, by host."""
        if detection.source in standing:
            return None
        why = self._why_not(detection, standing)
        if not why:
            return Answer(detection, self._until(detection.source, now))
        key = detection.kind, detection.source
        if now - self._said.get(key, -QUIET_S) < QUIET_S:
            return None
        self._said[key] = now
        return Answer(detection, None, why)

    def _why_not(self, detection: Detection, standing: Mapping[str, float | None]) -> str:
        if detection.source not in self.visitors:
            return "the site needs this host"
        return f"{len(standing)} hosts are blocked already" if len(standing) >= MOST else ""

    def _until(self, host: str, now: float) -> float:
        offences = self.offences.setdefault(host, Offences())
        if now > offences.until + LONGEST_S:
            offences.count = 0
        seconds = min(LONGEST_S, SHORTEST_S * 2**offences.count)
        offences.count, offences.until = offences.count + 1, now + seconds
        return offences.until
