"""The evidence of ``firewall_matrix``: for each pair of hosts the word of each oracle, and malformed packets.

An answer holds, for each kind of packet, the closed intervals of values that arrive: TCP and UDP ports, ICMP types,
and IP protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from experiments.engine.evidence import Evidence

#: of ``--pairs`` and ``--ports``: no choice
ALL = "all"
#: stands for a rule: that of the connection trackers, which make no sense of a packet
INVALID = "invalid"

Intervals: TypeAlias = tuple[tuple[int, int], ...]
Answer: TypeAlias = Mapping[str, Intervals]
#: switch -> name of a flow that drops -> packets
Stopped: TypeAlias = Mapping[str, Mapping[str, int]]


class RulingRow(TypedDict):
    """Values of one kind about which one rule of the policy decides."""

    kind: str
    values: Intervals
    rule: str
    allowed: bool


class TraceRow(TypedDict):
    """Open vSwitch's word about one class of packets; ``value`` was asked for all from ``low`` to ``high``."""

    kind: str
    low: int
    high: int
    value: int
    arrives: bool
    flow: str


class SweepRow(TypedDict):
    """The fate of one sweep's probes: the fields of sweep.Swept."""

    src: str
    dst: str
    values: Answer
    probes: int
    arrived: Answer
    arrivals: int
    strays: Mapping[str, int]
    stopped: Stopped
    inconclusive: Sequence[str]
    attempt: int
    duration_s: float


class ControlRow(TypedDict):
    """A pair of hosts between which packets were sent, and what the policy says of them."""

    src: str
    dst: str
    policy: Sequence[RulingRow]
    wire: SweepRow


class PairRow(ControlRow):
    """A pair about which all oracles were asked. ``stops``: the drops that the policy means."""

    proof: Answer
    trace: Sequence[TraceRow]
    stops: Stopped


class ProofRow(TypedDict):
    """The proof over all dumped flows: where they differ from the policy, in words."""

    differences: Sequence[str]
    flows: int
    ms: float


class DecidingFlow(TypedDict):
    """The flow that decides about one packet of which the oracles differ."""

    src: str
    dst: str
    kind: str
    value: int
    flow: str


class TryRow(TypedDict):
    """One malformed (or well-formed) packet on its way from one host to another.

    ``sent``: frames; ``refused``: the error of the sender's interface, or None; ``arrived``: host -> frames;
    ``inconclusive``: hosts whose capture lost packets.
    """

    packet: str
    src: str
    dst: str
    port: int
    may: str
    allowed: bool
    why: str
    sent: int
    refused: str | None
    arrived: Mapping[str, int]
    inconclusive: Sequence[str]


class ControllerRow(TypedDict):
    """Samples that the controller was sent, by switch, and the most that meters can have let pass.

    The last two are None when the controller did not answer, or was another process by then.
    """

    seconds: float
    most: float
    cpu_s: float | None
    packet_ins: Mapping[str, int] | None


class Seconds(TypedDict):
    """The durations of the parts of a run."""

    sweep: float


@dataclass(frozen=True, kw_only=True)
class MatrixEvidence(Evidence):
    """``hosts``: name -> address; ``controls``: one allowed packet of each source that sent none otherwise.

    ``flows``: those that decide where the oracles differ. ``changed``: whether the flows did while packets were sent.
    """

    hosts: Mapping[str, str]
    pairs: Sequence[PairRow]
    proof: ProofRow
    flows: Sequence[DecidingFlow]
    malformed: Sequence[TryRow]
    controls: Sequence[ControlRow]
    controller: ControllerRow
    changed: bool
    seconds: Seconds
