"""The evidence of ``waf``: what became of each attack, with the firewall and without it, and of honest requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from experiments.engine.evidence import Evidence


class AttackAnswer(TypedDict):
    """The part of the site that answered; ``worked``: how the answer shows that the attack had its way, or ""."""

    by: str
    status: int | None
    request: str
    worked: str


class WebAttackRow(TypedDict):
    """An attack: its input and class; the testbed's answer, and ``bare``, the answer with the firewall switched off."""

    input: str
    kind: str
    text: str
    answer: AttackAnswer
    bare: AttackAnswer | None


class CorpusRow(TypedDict):
    """Honest requests of one kind that the firewall's library judged, how many it refused, and some of those."""

    corpus: str
    kind: str
    judged: int
    refused: int
    examples: Sequence[str]


class WireRow(TypedDict):
    """Honest requests of a corpus that were sent: refused ones, and those that the library judges otherwise."""

    corpus: str
    sent: int
    refused: int
    otherwise: int
    examples: Sequence[str]


class CostRow(TypedDict):
    """Processor milliseconds of nginx for a request of one kind, with the firewall and without it."""

    page: str
    ms: float
    bare_ms: float | None


@dataclass(frozen=True, kw_only=True)
class WafEvidence(Evidence):
    """``library_ms``: processor time of the library for a request; ``scripts``: spellings of scripts in free text.

    ``refusals``: of the firewall's refusals of attacks, how many were stored on the monitoring host, and of how many;
    None where nothing is stored. ``harm``: what attacks left behind on servers.
    """

    shielded: bool = False
    spoilt: str = "nothing"
    attacks: Sequence[WebAttackRow] = ()
    corpora: Sequence[CorpusRow] = ()
    wire: Sequence[WireRow] = ()
    cost: Sequence[CostRow] = ()
    library_ms: Mapping[str, float] = field(default_factory=dict)
    scripts: int = 0
    scripts_refused: int = 0
    refusals: tuple[int, int] | None = None
    harm: Sequence[str] = ()
    finished: bool = False
