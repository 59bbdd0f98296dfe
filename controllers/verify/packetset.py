"""The space of all packets, and exact sets in it.

A packet is a point: one number for each field. A set of packets is a diagram, as BDDs are but with ranges of numbers
on the branches: a node asks for one field, and each range of its values leads to a node that asks for a later field,
or to a leaf. Leaf ``True``: in the set; leaf ``None``: not. A diagram whose leaves hold other values is a function of
the packet: a flow table is one, its leaves are what the table does.

Equal sets are one and the same object, so comparing two is comparing two pointers; each operation remembers its
results, so what has not changed is not computed again. Both are what makes a second proof so much faster.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

# field -> bits, in the order in which diagrams ask. What a switch adds to a packet comes first: it is always known.
# As in Open vSwitch, ARP's addresses share the fields of IPv4's, its operation that of the protocol, ICMP's type and
# code those of the ports.
FIELDS = {
    "ct_state": 8,
    "ct_mark": 32,
    "in_port": 32,
    "eth_type": 16,
    "nw_src": 32,
    "nw_dst": 32,
    "nw_proto": 8,
    "vlan_tci": 16,
    "eth_src": 48,
    "eth_dst": 48,
    "tp_src": 16,
    "tp_dst": 16,
    "arp_sha": 48,
    "arp_tha": 48,
    "nw_frag": 2,
}
LEVEL = {name: level for level, name in enumerate(FIELDS)}
NAMES, LEAF = tuple(FIELDS), len(FIELDS)
TOP = tuple((1 << bits) - 1 for bits in FIELDS.values())

Ranges: TypeAlias = tuple[tuple[int, int], ...]  # closed, ascending, not touching
Box: TypeAlias = Mapping[str, Ranges]  # a field that is not named may have any value
MOST_RANGES = 1 << 16


class Node:
    """``kids[i]`` is for values from ``cuts[i]`` up to the next cut; a leaf has a ``value`` instead."""

    __slots__ = ("cuts", "kids", "level", "value")

    def __init__(self, level: int, cuts: tuple[int, ...], kids: tuple[Node, ...], value: Any = None) -> None:
        self.level = level
        self.cuts = cuts
        self.kids = kids
        self.value = value

    def at(self, value: int) -> Node:
        """The kid for one value of this node's own field."""
        return self.kids[bisect_right(self.cuts, value) - 1]


Operation: TypeAlias = Callable[[Node, Node], Node]


class Space:
    """All sets that were made together; sets of two spaces cannot be compared."""

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Node] = {}
        self._memos: dict[Hashable, dict[Any, Any]] = {}
        self.nothing = self.leaf(None)
        self.everything = self.leaf(True)

    def leaf(self, value: Any) -> Node:
        node = self._nodes.get((LEAF, value))
        if node is None:
            node = self._nodes[LEAF, value] = Node(LEAF, (), (), value)
        return node

    def node(self, level: int, cuts: Iterable[int], kids: Iterable[Node]) -> Node:
        """The one node that is so; neighbours that lead to the same are one branch."""
        asked = (level, tuple(cuts), tuple(kids))
        node = self._nodes.get(asked)
        if node is None:
            node = self._nodes[asked] = self._reduced(*asked)
        return node

    def _reduced(self, level: int, cuts: tuple[int, ...], kids: tuple[Node, ...]) -> Node:
        at = [0, *(at for at in range(1, len(kids)) if kids[at] is not kids[at - 1])]
        if len(at) == 1:
            return kids[0]
        key = (level, tuple([cuts[place] for place in at]), tuple([kids[place] for place in at]))
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(*key)
        return node

    def memo(self, name: Hashable) -> dict[Any, Any]:
        """The results that an operation remembers."""
        return self._memos.setdefault(name, {})

    def box(self, box: Box) -> Node:
        """The packets whose every named field lies in one of its ranges."""
        node = self.everything
        for level, ranges in sorted(((LEVEL[name], ranges) for name, ranges in box.items()), reverse=True):
            cuts, kids = [0], [self.nothing]
            for low, high in ranges:
                cuts += [low, high + 1]
                kids += [node, self.nothing]
            if cuts[1:2] == [0]:
                cuts, kids = cuts[1:], kids[1:]
            if cuts[-1] > TOP[level]:
                cuts, kids = cuts[:-1], kids[:-1]
            node = self.node(level, cuts, kids)
        return node

    # --- two sets ------------------------------------------------------------------------------------------

    def within(self, mask: Node, node: Node) -> Node:
        """A set or function, where the set ``mask`` is; nothing elsewhere. Of two sets: what is in both."""
        if mask is self.everything:
            return node
        if mask is self.nothing or node is self.nothing:
            return self.nothing
        return self._zip(self.within, "within", mask, node)

    def minus(self, node: Node, mask: Node) -> Node:
        """A set or function, where the set ``mask`` is not."""
        if mask is self.nothing or node is self.nothing:
            return node
        if mask is self.everything:
            return self.nothing
        return self._zip(self.minus, "minus", node, mask)

    def join(self, one: Node, other: Node) -> Node:
        """The union of both. Functions whose leaves are frozensets have the union of both where both have some."""
        if one is other or other is self.nothing:
            return one
        if one is self.nothing:
            return other
        if one.level == other.level == LEAF:
            return self.leaf(one.value | other.value)
        return self._zip(self.join, "join", one, other)

    def all(self, nodes: Iterable[Node]) -> Node:
        """The union of many: halves first, so that no large one is built up piece by piece."""
        left = list(nodes)
        while len(left) > 1:
            left = [reduce(self.join, left[at : at + 2]) for at in range(0, len(left), 2)]
        return left[0] if left else self.nothing

    def _zip(self, operation: Operation, name: str, one: Node, other: Node) -> Node:
        memo = self._memos.setdefault(name, {})
        key = (one, other)
        cached: Node | None = memo.get(key)
        if cached is not None:
            return cached
        if one.level < other.level:
            made = self.node(one.level, one.cuts, [operation(kid, other) for kid in one.kids])
        elif other.level < one.level:
            made = self.node(other.level, other.cuts, [operation(one, kid) for kid in other.kids])
        else:
            cuts, pairs = _side_by_side(one, other)
            made = self.node(one.level, cuts, [operation(first, second) for first, second in pairs])
        memo[key] = made
        return made

    # --- one set -------------------------------------------------------------------------------------------

    def relabel(self, node: Node, label: Callable[[Any], Any], name: Hashable) -> Node:
        """The function with each leaf's value replaced; ``name`` stands for ``label`` in what is remembered."""
        if node is self.nothing:
            return node
        if node.level == LEAF:
            return self.leaf(label(node.value))
        memo = self.memo(("relabel", name))
        cached: Node | None = memo.get(node)
        if cached is None:
            kids = [self.relabel(kid, label, name) for kid in node.kids]
            cached = memo[node] = self.node(node.level, node.cuts, kids)
        return cached

    def parted(self, node: Node, label: Callable[[Any], Any], name: Hashable) -> dict[Any, Node]:
        """A function as sets: each label of its leaves, with where it has such a leaf; ``name`` as in relabel."""
        if node.level == LEAF:
            return {} if node is self.nothing else {label(node.value): self.everything}
        memo = self.memo(("parted", name))
        cached: dict[Any, Node] | None = memo.get(node)
        if cached is None:
            parts = [self.parted(kid, label, name) for kid in node.kids]
            labels = dict.fromkeys(value for part in parts for value in part)
            cached = memo[node] = {
                value: self.node(node.level, node.cuts, [part.get(value, self.nothing) for part in parts])
                for value in labels
            }
        return cached

    def forget(self, node: Node, kept: frozenset[int]) -> Node:
        """The packets that become one of the set's when the fields that are not ``kept`` (levels) are changed."""
        if node.level == LEAF:
            return node
        memo = self.memo(("forget", kept))
        cached: Node | None = memo.get(node)
        if cached is None:
            kids = [self.forget(kid, kept) for kid in node.kids]
            cached = memo[node] = self.node(node.level, node.cuts, kids) if node.level in kept else self.all(kids)
        return cached

    def replace(self, node: Node, level: int, value: int) -> Node:
        """The set after every packet's field has been set to one value."""
        kept = frozenset(range(LEAF)) - {level}
        return self.within(self.box({NAMES[level]: ((value, value),)}), self.forget(node, kept))

    def leaves(self, node: Node) -> frozenset[Any]:
        """Every value that a function has somewhere."""
        if node.level == LEAF:
            return frozenset(() if node is self.nothing else (node.value,))
        memo = self.memo("leaves")
        cached: frozenset[Any] | None = memo.get(node)
        if cached is None:
            cached = memo[node] = frozenset().union(*(self.leaves(kid) for kid in set(node.kids)))
        return cached

    def boxes(self, node: Node) -> Iterator[tuple[dict[str, Ranges], Any]]:
        """The set as disjoint boxes, each with the value of its leaf."""
        if node is self.nothing:
            return
        if node.level == LEAF:
            yield {}, node.value
            return
        for kid, ranges in branches(node):
            for box, value in self.boxes(kid):
                yield {NAMES[node.level]: ranges, **box}, value


def branches(node: Node) -> list[tuple[Node, Ranges]]:
    """A node's kids, each once, with all the values that lead to it."""
    kids: dict[Node, list[tuple[int, int]]] = {}
    ends = (*(cut - 1 for cut in node.cuts[1:]), TOP[node.level])
    for low, high, kid in zip(node.cuts, ends, node.kids, strict=True):
        kids.setdefault(kid, []).append((low, high))
    return [(kid, tuple(ranges)) for kid, ranges in kids.items()]


def _side_by_side(one: Node, other: Node) -> tuple[Sequence[int], Iterable[tuple[Node, Node]]]:
    """The common refinement of two nodes of one field: first values, and (kid of one, kid of the other) for each."""
    if one.cuts == other.cuts:
        return one.cuts, zip(one.kids, other.kids, strict=True)
    cuts = sorted({*one.cuts, *other.cuts})
    return cuts, [(one.at(cut), other.at(cut)) for cut in cuts]


def ranges(value: int, mask: int, bits: int) -> Ranges:
    """The numbers of so many bits that agree with ``value`` where ``mask`` has ones. Raises ValueError past 65536."""
    mask &= (1 << bits) - 1
    if not mask:
        return ((0, (1 << bits) - 1),)
    low_bit = mask & -mask
    free = [1 << bit for bit in range(bits) if (1 << bit) > low_bit and not mask & (1 << bit)]
    if 1 << len(free) > MOST_RANGES:
        raise ValueError(f"mask {mask:#x} has too many holes")
    starts = [value & mask]
    for bit in free:
        starts += [start | bit for start in starts]
    return united((start, start + low_bit - 1) for start in starts)


def united(spans: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges that may overlap or touch, as ranges that do not."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return tuple(made)
