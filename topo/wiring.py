"""Switches and links: a tree, and the paths through it. Nodes are names here; what runs on them stands in plan.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

INTERFACE_LIMIT = 15


@dataclass(frozen=True)
class Switch:
    """One Open vSwitch bridge. ``guards`` names the host a firewall stands in front of; ``number`` is unique."""

    name: str
    number: int
    guards: str | None = None

    @property
    def dpid(self) -> int:
        return self.number


@dataclass(frozen=True)
class End:
    """The end of a link at a node: the port number is OpenFlow's on a switch and 0 on a host."""

    node: str
    port: int

    @property
    def interface(self) -> str:
        return f"{self.node}-eth{self.port}"


@dataclass(frozen=True)
class Link:
    """``a`` is the end nearer to the core: always a switch."""

    a: End
    b: End

    @property
    def ends(self) -> tuple[End, End]:
        return (self.a, self.b)


@dataclass(frozen=True)
class Hop:
    """A packet's way through one switch: in by one port, out by another."""

    switch: str
    in_port: int
    out_port: int


@dataclass(frozen=True)
class Wiring:
    """The switches, and every link between two of them or to a host."""

    switches: tuple[Switch, ...]
    links: tuple[Link, ...]

    @cached_property
    def _switches(self) -> dict[str, Switch]:
        return {switch.name: switch for switch in self.switches}

    @cached_property
    def _neighbours(self) -> dict[str, list[tuple[End, End]]]:
        """For each node: (own end, far end) of every link that it has."""
        table: dict[str, list[tuple[End, End]]] = {}
        for link in self.links:
            table.setdefault(link.a.node, []).append((link.a, link.b))
            table.setdefault(link.b.node, []).append((link.b, link.a))
        return table

    def links_of(self, node: str) -> list[tuple[End, End]]:
        """(own end, far end) of each of a node's links."""
        return self._neighbours[node]

    def is_switch(self, node: str) -> bool:
        return node in self._switches

    def beyond(self, end: End) -> set[str]:
        """The nodes whose packets reach ``end.node`` through that port."""
        far = next(far for own, far in self.links_of(end.node) if own == end)
        names, frontier = set(), [(far.node, end.node)]
        while frontier:
            node, came_from = frontier.pop()
            names.add(node)
            frontier += [(on.node, node) for _, on in self.links_of(node) if on.node != came_from]
        return names

    def path(self, src: str, dst: str) -> tuple[Hop, ...]:
        """The switches between two hosts, in order. It is a tree, so there is one path."""
        ends = self._walk(src, dst, came_from=None)
        assert ends is not None, "a valid plan is connected"
        return tuple(
            Hop(arrive.node, arrive.port, leave.port) for arrive, leave in zip(ends[1:-1:2], ends[2::2], strict=True)
        )

    def _walk(self, node: str, goal: str, came_from: str | None) -> list[End] | None:
        """Ends passed on the way from ``node`` to ``goal``: leave, arrive, leave, arrive, ..."""
        if node == goal:
            return []
        for own, far in self.links_of(node):
            if far.node != came_from and (rest := self._walk(far.node, goal, node)) is not None:
                return [own, far, *rest]
        return None

    def policed_by(self, src: str, dst: str) -> tuple[str, ...]:
        """The switches that decide about traffic between two hosts.

        All firewalls on the path decide, separately; where no firewall stands on the path, ``core`` does.
        """
        switches = [self._switches[hop.switch] for hop in self.path(src, dst)]
        return tuple(switch.name for switch in switches if switch.guards) or (switches[0].name,)

    def wiring_problems(self, hosts: list[str]) -> Iterator[str]:
        """Every contradiction in the wiring, if these are the hosts."""
        names = [*hosts, *self._switches]
        yield from twice("switch number", [switch.number for switch in self.switches])
        ends = [end for link in self.links for end in link.ends]
        yield from twice("port", [f"{end.node} port {end.port}" for end in ends])
        for end in ends:
            if end.node not in names:
                yield f"a link ends at {end.node}, which is neither a host nor a switch"
            if len(end.interface) > INTERFACE_LIMIT:
                yield f"interface name {end.interface} is longer than {INTERFACE_LIMIT} characters"
        if len(self.links) != len(names) - 1 or not self._connects(names):
            yield "the links do not join all hosts and switches into one tree"

    def _connects(self, names: list[str]) -> bool:
        reached, frontier = set(), [names[0]]
        while frontier:
            node = frontier.pop()
            reached.add(node)
            frontier += [far.node for _, far in self._neighbours.get(node, ()) if far.node not in reached]
        return reached >= set(names)


def twice(what: str, values: Iterable[object]) -> Iterator[str]:
    """A line for each value that is there more than once."""
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{what} {value} is used {count} times"
