"""Answers of oracles as sets, in one shape for all of them; and their comparison: where two of them differ. Pure.

Intervals ascend and do not touch, so equal sets are equal tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from controllers.policy import shown_range
from controllers.verify.packetset import united
from experiments.firewall_matrix.evidence import Answer, ControlRow, Intervals, PairRow, SweepRow, TraceRow

COUNTS = {"tcp": 65536, "udp": 65536, "icmp": 256, "ip": 256}
KINDS = tuple(COUNTS)
EVERYTHING: Answer = {kind: ((0, count - 1),) for kind, count in COUNTS.items()}
NOTHING: Answer = dict.fromkeys(KINDS, ())
# The values that can begin a conversation, for the tracker of Open vSwitch's userspace datapath: no port 0, three
# requests of ICMP, and of the IP protocols those that have no kind of their own (theirs make no sense with nothing
# inside) and are not ICMPv6. It calls the rest invalid.
BEGINS: Answer = {
    "tcp": ((1, 65535),),
    "udp": ((1, 65535),),
    "icmp": ((8, 8), (13, 13), (15, 15)),
    "ip": ((0, 0), (2, 5), (7, 16), (18, 57), (59, 255)),
}
# Trackers differ about these, the kernel's and Open vSwitch's own, and each between its versions: the kernel's looks
# into DCCP, SCTP and UDP-Lite, knows ICMP's address mask requests and minds no port 0. A run asks the one that it has.
DISPUTED: Answer = {
    "tcp": ((0, 0),),
    "udp": ((0, 0),),
    "icmp": ((17, 17),),
    "ip": ((33, 33), (132, 132), (136, 136)),
}
#: whether a packet arrives, for one oracle; None when it was not asked, or a lost probe leaves it open
Arrives: TypeAlias = bool | None
ORACLES = ("proof", "trace", "wire")


def begins(new: Answer) -> Answer:
    """The values that begin a conversation where, of those that trackers differ about, these do."""
    sure = {kind: without(BEGINS[kind], DISPUTED[kind]) for kind in KINDS}
    return {kind: union((*sure[kind], *within(new[kind], DISPUTED[kind]))) for kind in KINDS}


def union(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """Intervals put together, whether or not they overlap or touch."""
    return united(intervals)


def within(one: Intervals, other: Intervals) -> Intervals:
    """The values that both have."""
    both, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            both.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(both)


def without(one: Intervals, other: Intervals) -> Intervals:
    """The values that the first has and the second has not."""
    ends = (-1, *(end for span in other for end in span), 1 << 32)
    gaps = zip(ends[::2], ends[1::2], strict=True)
    return within(one, tuple((low + 1, high - 1) for low, high in gaps if low + 1 < high))


def size(intervals: Intervals) -> int:
    """The number of values."""
    return sum(high - low + 1 for low, high in intervals)


def total(answer: Answer) -> int:
    """The number of values of all kinds."""
    return sum(map(size, answer.values()))


def segments(kind: str, *sets: Intervals) -> Intervals:
    """All values of a kind, cut where one of these sets begins or ends: none of them tells a segment's values apart."""
    edges = {0, COUNTS[kind]} | {edge for intervals in sets for low, high in intervals for edge in (low, high + 1)}
    return tuple((low, following - 1) for low, following in pairwise(sorted(edges)))


def covered(intervals: Intervals, value: int) -> bool:
    """Is a value one of them?"""
    return any(low <= value <= high for low, high in intervals)


def shown(answer: Answer, most: int = 4) -> str:
    """In words: ``tcp/80,443 icmp/8``; ``-`` for nothing."""
    parts = [f"{kind}/{ranges(answer[kind], most)}" for kind in KINDS if answer.get(kind)]
    return " ".join(parts) or "-"


def ranges(intervals: Intervals, most: int = 4) -> str:
    """``22,80-81``, and how many more intervals there are."""
    more = f",+{len(intervals) - most}" if len(intervals) > most else ""
    return ",".join(shown_range(*span) for span in intervals[:most]) + more


@dataclass(frozen=True)
class OracleMismatch:
    """Packets of one kind about which the oracles differ. ``allowed``: the word of ``rule`` of the policy.

    ``proof``, ``trace``, ``wire``: whether they arrive, for each of the other oracles.
    """

    src: str
    dst: str
    kind: str
    values: Intervals
    rule: str
    allowed: bool
    proof: Arrives
    trace: Arrives
    wire: Arrives

    @property
    def without_packets(self) -> tuple[str, str, str, bool, Arrives, Arrives, Arrives]:
        """All but the packets."""
        return (self.src, self.dst, self.rule, self.allowed, self.proof, self.trace, self.wire)


def exact(swept: SweepRow) -> bool:
    """Is every probe of a sweep accounted for, by captures that lost nothing?"""
    return lost(swept) == 0 and not swept["inconclusive"]


def lost(swept: SweepRow) -> int:
    """Probes that neither arrived nor were counted as dropped; below 0 when other packets were counted too."""
    return swept["probes"] - swept["arrivals"] - sum(sum(names.values()) for names in swept["stopped"].values())


def allowed(pair: ControlRow) -> Answer:
    """The packets that the policy lets through."""
    rows = [row for row in pair["policy"] if row["allowed"]]
    return {kind: union(span for row in rows if row["kind"] == kind for span in row["values"]) for kind in KINDS}


def mismatches(pair: PairRow) -> list[OracleMismatch]:
    """All packets of a pair about which not all oracles agree."""
    return [mismatch for kind in KINDS for mismatch in _mismatches(pair, kind)]


def _mismatches(pair: PairRow, kind: str) -> Iterator[OracleMismatch]:
    proof = pair["proof"].get(kind, ())
    parts = list(_parts(_by_wire(pair["wire"], kind), _by_trace(pair["trace"], kind)))
    for row in pair["policy"]:
        if row["kind"] != kind:
            continue
        for proves, proved in ((True, proof), (False, without(EVERYTHING[kind], proof))):
            for values, wire, trace in parts:
                if not {row["allowed"], proves, wire, trace} >= {True, False}:
                    continue
                if differ := within(within(row["values"], proved), values):
                    yield OracleMismatch(
                        pair["src"], pair["dst"], kind, differ, row["rule"], row["allowed"], proves, trace, wire
                    )


def _parts(
    wire: Mapping[Arrives, Intervals], trace: Mapping[Arrives, Intervals]
) -> Iterator[tuple[Intervals, Arrives, Arrives]]:
    """All values, by the words of the packets and of the trace."""
    for by_wire, values in wire.items():
        for by_trace, others in trace.items():
            if both := within(values, others):
                yield both, by_wire, by_trace


def _by_wire(swept: SweepRow, kind: str) -> dict[Arrives, Intervals]:
    """That a probe arrived is certain; that it did not, only when none was lost."""
    came = swept["arrived"].get(kind, ())
    stayed = without(swept["values"].get(kind, ()), came) if exact(swept) else ()
    return {True: came, False: stayed, None: without(without(EVERYTHING[kind], came), stayed)}


def _by_trace(traced: Iterable[TraceRow], kind: str) -> dict[Arrives, Intervals]:
    own = [row for row in traced if row["kind"] == kind]
    passed, stopped = (
        union((row["low"], row["high"]) for row in own if row["arrives"] == arrives) for arrives in (True, False)
    )
    return {True: passed, False: stopped, None: without(without(EVERYTHING[kind], passed), stopped)}


def together(mismatches: Iterable[OracleMismatch]) -> list[tuple[OracleMismatch, Answer]]:
    """Mismatches that differ in the packets alone, as one each: the first of them, and all their packets."""
    groups: dict[Any, list[OracleMismatch]] = {}
    for mismatch in mismatches:
        groups.setdefault(mismatch.without_packets, []).append(mismatch)
    return [(group[0], {mismatch.kind: mismatch.values for mismatch in group}) for group in groups.values()]


def words(mismatch: OracleMismatch, packets: Answer) -> str:
    """One line: the packets, the word of each oracle, and the rule."""
    by_oracle = {name: getattr(mismatch, name) for name in ORACLES if getattr(mismatch, name) is not None}
    if mismatch.wire is not None and len(set(by_oracle.values())) == 1:
        what = "arrives" if mismatch.wire else "does not arrive"
    else:
        what = ", ".join(f"{name}: {'arrives' if arrives else 'stopped'}" for name, arrives in by_oracle.items())
    verb = "allows" if mismatch.allowed else "denies"
    return f"{mismatch.src} -> {mismatch.dst} {shown(packets)}: {what}, the policy {verb} it ({mismatch.rule})"


def count(mismatches: Sequence[OracleMismatch]) -> int:
    """The number of packets about which the oracles differ."""
    return sum(size(mismatch.values) for mismatch in mismatches)
