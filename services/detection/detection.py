"""A detection as a value, what it is made of, and what a detector is.

A detector is pure: it takes what a source did, one contact after the other, and says when that is an attack. Time is
what a contact says, so that a detector can be asked about recorded contacts as well.
"""

from __future__ import annotations

import time as clock
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

SCAN, FLOOD, SPOOFING, BRUTE_FORCE, SPRAYING, PROBING, SLOW_CLIENT = KINDS = (
    "scan",
    "flood",
    "spoofing",
    "brute-force",
    "spraying",
    "probing",
    "slow-client",
)


@dataclass(frozen=True)
class Contact:
    """One thing that a source did, and whether it was refused.

    ``what``: each counts once, so it is a target where only new ones are evidence, and a request's id where all are.
    ``within``: what is judged by itself, an account say. ``words``: for people, where ``what`` is none.
    """

    time: float
    source: str
    what: str
    refused: bool
    within: str = ""
    words: str = ""

    @property
    def text(self) -> str:
        return self.words or self.what


@dataclass(frozen=True)
class Detection:
    """An attack that was found. ``odds``: how much likelier an attacker does this than an honest host; None where it
    was counted and not weighed. ``since``: the first of the ``evidence``; ``time``: the last."""

    kind: str
    source: str
    evidence: tuple[str, ...]
    odds: float | None
    since: float
    time: float

    @property
    def text(self) -> str:
        odds = "" if self.odds is None else f" (odds {self.odds:.0e} to 1)"
        shown = [what if times == 1 else f"{times} x {what}" for what, times in Counter(self.evidence).items()]
        return f"{self.kind}: {', '.join(shown)}{odds}"

    def event(self, until: float | None, why: str = "") -> dict[str, Any]:
        """As the event log has it (sentinel.py). ``until``: the end of the block; None: nobody is, and ``why`` not."""
        ending = f"not blocked: {why}" if until is None else clock.strftime("blocked until %T", clock.localtime(until))
        return {
            "kind": self.kind,
            "source": self.source,
            "evidence": list(self.evidence),
            "odds": self.odds,
            "since": round(self.since, 6),
            "seen": round(self.time, 6),
            "block": until,
            **({"why": why} if why else {}),
            "text": f"{self.source}: {self.text}; {ending}",
        }


class Detector(Protocol):
    """Contacts in, detections out. It remembers a bounded number of things about each source."""

    def take(self, contact: Contact) -> Iterator[Detection]: ...
