"""Answers of oracles as sets, in one shape for all of them, so that they can be compared.

Intervals ascend and do not touch, so equal sets are equal tuples.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from controllers.policy import shown_range
from controllers.verify.packetset import united
from experiments.firewall_matrix.evidence import Answer, Intervals

COUNTS = {"tcp": 65536, "udp": 65536, "icmp": 256, "ip": 256}
KINDS = tuple(COUNTS)
EVERYTHING: Answer = {kind: ((0, count - 1),) for kind, count in COUNTS.items()}
NOTHING: Answer = dict.fromkeys(KINDS, ())
# The values that can begin a conversation, for Open vSwitch's tracker: no port 0, three requests of ICMP, and of the IP
# protocols those that have no kind of their own (theirs make no sense with nothing inside) and are not ICMPv6. It calls
# the rest invalid.
BEGINS: Answer = {
    "tcp": ((1, 65535),),
    "udp": ((1, 65535),),
    "icmp": ((8, 8), (13, 13), (15, 15)),
    "ip": ((0, 0), (2, 5), (7, 16), (18, 57), (59, 255)),
}


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
