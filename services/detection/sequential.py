"""The sequential test (Wald; Jung et al., "Fast portscan detection using sequential hypothesis testing", IEEE S&P
2004): evidence is weighed contact by contact, and there is no window of time, so a slow attack is found as a quick one.

Each refused contact multiplies the odds by ``attack / honest``, each other one by ``(1 - attack) / (1 - honest)``, and
they never fall below 1: whoever behaves for a while gets no credit for it. At ``1 / alpha`` the verdict falls.

The bound. If each contact of an honest source is refused with a probability of at most ``honest``, whatever has
happened before, the number of its contacts until a false alarm is 1 / alpha on average at least (Lorden 1971), and of
N contacts at most N * alpha are expected to end in one. Proof: let L be the factor of a contact; for an honest source
its mean is at most 1. With R = (1 + R) * L from R = 0, R - n is a supermartingale, and R is never below the odds, so
at the alarm, after T contacts, 1 / alpha <= E R <= E T.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from services.detection.detection import Contact, Detection

#: sources; of each what is judged by itself; of each of those what is known; and what is shown as evidence
SOURCES, WITHIN, KNOWN, SHOWN = 256, 128, 512, 8


@dataclass(frozen=True)
class SequentialTest:
    """``honest``: how likely a contact of an honest source is refused, at most; ``attack``: of an attacker, at least;
    ``alpha``: false alarms per contact of honest sources, at most."""

    honest: float
    attack: float
    alpha: float

    def factor(self, refused: bool) -> float:
        return self.attack / self.honest if refused else (1 - self.attack) / (1 - self.honest)

    @property
    def verdict_at(self) -> float:
        return 1 / self.alpha

    @property
    def refusals(self) -> int:
        """The number of refused contacts in a row that make the verdict."""
        return math.ceil(math.log(self.verdict_at) / math.log(self.factor(True)))


@dataclass
class Suspicion:
    """The odds against a source, and what they are made of. ``known``: each contact so far, and if it was refused."""

    odds: float = 1.0
    since: float = 0.0
    known: dict[str, bool] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)

    def weigh(self, contact: Contact, test: SequentialTest) -> None:
        before = self.known.get(contact.what)
        if before is None:
            by = test.factor(contact.refused)
        elif before and not contact.refused:  # it was no refusal in the end: a password that came back to mind
            by = test.factor(False) / test.factor(True)
        else:
            return
        self.known[contact.what] = contact.refused
        _bound(self.known, KNOWN)
        if contact.refused:
            self.since = self.since if self.evidence else contact.time
            self.evidence = [*self.evidence, contact.text][-SHOWN:]
        self.odds = max(1.0, self.odds * by)
        if self.odds == 1.0:
            self.evidence = []


class SequentialDetector:
    """Weighs the contacts of each source by a test."""

    def __init__(self, kind: str, test: SequentialTest) -> None:
        self.kind = kind
        self.test = test
        self._sources: dict[str, dict[str, Suspicion]] = {}

    def take(self, contact: Contact) -> Iterator[Detection]:
        """After a verdict a source begins anew: the next one rests on other contacts."""
        apart = self._sources.setdefault(contact.source, {})
        suspicion = apart.setdefault(contact.within, Suspicion())
        suspicion.weigh(contact, self.test)
        if suspicion.odds >= self.test.verdict_at:
            del apart[contact.within]
            evidence = tuple(suspicion.evidence)
            yield Detection(self.kind, contact.source, evidence, suspicion.odds, suspicion.since, contact.time)
        _bound(apart, WITHIN)
        _bound(self._sources, SOURCES)


def _bound(table: dict[str, Any], most: int) -> None:
    """Forget the oldest of a table that is full."""
    for key in list(islice(table, max(0, len(table) - most))):
        del table[key]
