"""The evidence of ``firewall_mutants``: a row for each mutant, and for each round without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from experiments.engine.evidence import Evidence

# the proof's word about a mutant: flows and policy differ; exactly the same packets arrive; neither of them
CAUGHT, EQUIVALENT, NEITHER = "caught", "equivalent", "neither"


class MutantRow(TypedDict):
    """One mutant, and the words of both oracles.

    ``installed``, ``restored``: whether the switches held these flows, and the right ones after it. ``refused``: why an
    oracle gave no answer. ``quick``, ``witness``: how many probes of each set ended where the policy does not want
    them; ``witnesses``: how many were sent; ``seen``: some of those mismatches in words; ``lost``: host -> frames.
    """

    number: int
    kind: str
    subject: str
    what: str
    installed: bool
    refused: str
    proof: str
    quick: int
    witness: int
    witnesses: int
    seen: Sequence[str]
    lost: Mapping[str, int]
    restored: bool
    ms: float


class CalmRow(TypedDict):
    """The quick set while no flow is wrong, ``before`` so many mutants: the control of every probe in it."""

    before: int
    seen: Sequence[str]
    lost: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class MutantsEvidence(Evidence):
    """``wanted``: how many mutants; ``probes``: size of the quick set; ``sent``: frames, None if interrupted."""

    wanted: int = 0
    mutants: Sequence[MutantRow] = ()
    calm: Sequence[CalmRow] = ()
    wrong_before: Sequence[str] = ()
    probes: int = 0
    sent: int | None = None
