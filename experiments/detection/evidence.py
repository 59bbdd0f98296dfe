"""The evidence of ``detection``: each attack with what became of it, the honest visitors, the forgeries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from experiments.engine.evidence import Evidence


class AttackRow(TypedDict):
    """One attack. Times are s since 1970; None: it never came to that.

    ``sent``: targets, packets or attempts, of ``whole`` that it would have needed; ``before``: those of them that were
    not stopped. ``owed``: when the sources had shown enough of themselves. ``seen``: when an event named the last of
    the ``sources``, as ``kind``; ``blocked``: when the last of them was. ``misnamed``: other hosts that were blocked,
    or named, meanwhile. ``served``: the share of the honest visitors' requests that were answered in time, from one
    second after the attack began.
    """

    attack: str
    family: str
    kinds: Sequence[str]
    sources: Sequence[str]
    control: bool
    began: float
    ended: float
    sent: int
    whole: int
    before: int
    owed: float | None
    seen: float | None
    kind: str | None
    blocked: float | None
    misnamed: Sequence[str]
    served: float | None


class HonestRow(TypedDict):
    """Honest visitors of one kind: those who came, what they asked, and how often that was refused or not answered."""

    who: str
    visits: int
    requests: int
    refused: int
    unanswered: int


class BlockedWhile(TypedDict):
    """A while in which a host was blocked; ``ended``: None when it still was at the end."""

    host: str
    began: float
    ended: float | None


class ForgedRow(TypedDict):
    """Packets sent from the attacker's port as if ``host`` had: how many, and how many the switch refused."""

    host: str
    packets: int
    refused: int
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class DetectionEvidence(Evidence):
    """``honest_while``: when nobody attacked; ``named``: hosts that events named in it. ``served``: as in a row.

    ``client``: the host of the honest visitors. ``left_out``: attacks whose program is not there. ``scheduled``:
    attacks that were to be tried, without controls.
    """

    detector: bool = False
    spoilt: str = "nothing"
    client: str = ""
    honest_while: tuple[float, float] | None = None
    honest: Sequence[HonestRow] = ()
    served: float | None = None
    named: Sequence[str] = ()
    attacks: Sequence[AttackRow] = ()
    blocks: Sequence[BlockedWhile] = ()
    forged: ForgedRow | None = None
    left_out: Sequence[str] = ()
    scheduled: int = 0
    stopped: str | None = None
