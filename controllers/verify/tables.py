"""Flow tables as functions of the packet: a diagram whose leaves are the actions of the flow that decides.

Cookies and priorities' numbers are not looked at, only which of two flows stands higher. A table that changes in one
flow shares all the rest of its diagram with what it was before.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

from controllers.flow import Action, Flow, MatchValue
from controllers.ovs.dump import mac_number
from controllers.verify.packetset import FIELDS, LEAF, LEVEL, NAMES, Node, Ranges, Space, ranges
from topo.errors import RefusedError

# OpenFlow's name of a field -> ours
SHARED = {
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "arp_spa": "nw_src",
    "arp_tpa": "nw_dst",
    "ip_proto": "nw_proto",
    "arp_op": "nw_proto",
    "tcp_src": "tp_src",
    "udp_src": "tp_src",
    "icmpv4_type": "tp_src",
    "tcp_dst": "tp_dst",
    "udp_dst": "tp_dst",
    "icmp_code": "tp_dst",
    "vlan_vid": "vlan_tci",
    "ip_frag": "nw_frag",
}
VLAN_VID_MASK = 0x1FFF


@dataclass(frozen=True)
class Ambiguous:
    """The possible actions where two flows of one priority match and differ: OpenFlow leaves open which is taken."""

    choices: tuple[tuple[Action, ...], ...]


@dataclass(frozen=True)
class TableEntry:
    """A flow as a box: (level, ranges) of each field that it asks for, in the diagrams' order.

    ``last`` is the deepest level; below it the entry matches everything. Samples are left out: they let nothing arrive.
    """

    constraints: tuple[tuple[int, Ranges], ...]
    actions: tuple[Action, ...]

    @property
    def last(self) -> int:
        return self.constraints[-1][0] if self.constraints else -1


class Tables:
    """Makes diagrams of tables in one space; each different flow is translated once."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._numbers: dict[TableEntry, int] = {}
        self._entries: list[TableEntry] = []
        self._known: dict[tuple[object, object], int] = {}
        self._last: list[int] = []
        self._asked: list[dict[int, Ranges]] = []

    def table(self, flows: Iterable[Flow]) -> Node:
        """One table. What no flow matches is dropped, as by a flow without actions."""
        ordered = groupby(sorted(flows, key=lambda flow: -flow.priority), key=lambda flow: flow.priority)
        heights = [[self._number(flow) for flow in equals] for _, equals in ordered]
        needed = [here for here, below in pairwise([*heights, []]) if not self._says_the_same(here, below)]
        return self._build(0, tuple(row << 1 | (at > 0) for here in needed for at, row in enumerate(here)))

    def _says_the_same(self, here: Sequence[int], below: Sequence[int]) -> bool:
        """True if the entries of the next lower priority do the same with all that these match (a default, sampled by
        port): then these decide nothing."""
        if len({self._entries[row].actions for row in (*here, *below)}) != 1:
            return False
        asked = [self._asked[row].items() for row in below]
        return all(any(fields <= self._asked[row].items() for fields in asked) for row in here)

    def _number(self, flow: Flow) -> int:
        known = self._known.get((flow.match, flow.actions))
        if known is None:
            entry = TableEntry(constraints(flow), () if flow.drops else flow.actions)
            known = self._numbers.setdefault(entry, len(self._entries))
            if known == len(self._entries):
                self._entries.append(entry)
                self._last.append(entry.last)
                self._asked.append(dict(entry.constraints))
            self._known[flow.match, flow.actions] = known
        return known

    def _build(self, level: int, rows: tuple[int, ...]) -> Node:
        """``rows``: numbers of entries from the highest priority down; the lowest bit says "as high as the last"."""
        rows = self._shadowed_cut(level, rows)
        if not rows:
            return self.space.leaf(())
        if all(self._last[row >> 1] < level for row in rows):
            return self.space.leaf(self._decided(rows))
        memo = self.space.memo(("table", level))
        cached: Node | None = memo.get(rows)
        if cached is None:
            cached = memo[rows] = self._split(level, rows)
        return cached

    def _shadowed_cut(self, level: int, rows: tuple[int, ...]) -> tuple[int, ...]:
        """Without the rows that stand lower than one which matches everything from here on."""
        for at, row in enumerate(rows):
            if self._last[row >> 1] < level:
                end = at + 1
                while end < len(rows) and rows[end] & 1:
                    end += 1
                return rows[:end]
        return rows

    def _decided(self, rows: tuple[int, ...]) -> tuple[Action, ...] | Ambiguous:
        choices = dict.fromkeys(self._entries[row >> 1].actions for row in rows)
        return next(iter(choices)) if len(choices) == 1 else Ambiguous(tuple(choices))

    def _split(self, level: int, rows: tuple[int, ...]) -> Node:
        """Ask for the next field that any row asks for; each range of its values keeps the rows that allow it."""
        asked = self._asked
        level = min(later for row in rows for later in asked[row >> 1] if later >= level)
        wanted = [asked[row >> 1].get(level) for row in rows]
        cuts = _cuts(level, wanted)
        kept: defaultdict[int, list[int]] = defaultdict(list)
        everywhere = range(len(cuts))
        for number, spans in enumerate(wanted):
            places: Iterable[int] = everywhere
            if spans is not None:
                places = [at for low, high in spans for at in range(bisect_left(cuts, low), bisect_right(cuts, high))]
            for at in places:
                kept[at].append(number)
        kids = [self._build(level + 1, _left_over(rows, kept[at])) for at in everywhere]
        return self.space.node(level, cuts, kids)


def _left_over(rows: tuple[int, ...], kept: Sequence[int]) -> tuple[int, ...]:
    """Some of the rows; a row loses its tie when all rows of its priority before it are left out."""
    if len(kept) == len(rows):
        return rows
    made, before = [], -1
    for number in kept:
        row = rows[number]
        tied = row & 1 and all(rows[place] & 1 for place in range(before + 1, number + 1)) and before >= 0
        made.append(row if tied else row & ~1)
        before = number
    return tuple(made)


def _cuts(level: int, wanted: Iterable[Ranges | None]) -> list[int]:
    top = (1 << FIELDS[NAMES[level]]) - 1
    cuts = {0}
    for spans in wanted:
        for low, high in spans or ():
            cuts.add(low)
            if high < top:
                cuts.add(high + 1)
    return sorted(cuts)


def constraints(flow: Flow) -> tuple[tuple[int, Ranges], ...]:
    """The ranges that a flow matches, in the diagrams' order. Raises RefusedError for a field that the space lacks."""
    made = {}
    for name, value in flow.match:
        field = SHARED.get(name, name)
        level = LEVEL.get(field, LEAF)
        if level == LEAF or level in made:
            raise RefusedError(f"{flow.switch}: field {name} cannot be proved: {flow.text()}")
        made[level] = value_ranges(name, value, FIELDS[field])
    return tuple(sorted(made.items()))


@lru_cache(maxsize=1 << 18)
def value_ranges(name: str, value: MatchValue, bits: int) -> Ranges:
    """The numbers that a flow's value of a field stands for."""
    if isinstance(value, tuple):
        return ranges(*value, bits)
    number = (
        value if isinstance(value, int) else mac_number(value) if ":" in value else int(ipaddress.ip_address(value))
    )
    return ranges(number, VLAN_VID_MASK, bits) if name == "vlan_vid" else ((number, number),)
