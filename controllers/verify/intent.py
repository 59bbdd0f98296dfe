"""The meaning of rules and overlays as sets of packets: the proof expects exactly these to arrive.

It uses neither decide() nor compile.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from controllers.overlay import Match, Overlay
from controllers.ovs.dump import mac_number
from controllers.policy import Rule, pairs
from controllers.verify.packetset import Box, Node, Ranges, Space, united
from controllers.verify.tracker import ICMP_ERRORS, reverse
from topo.plan import ANY, Host, Plan

Pair = tuple[str, str]
Taken = tuple[tuple[int, Node], ...]  # (how many switches come before, packets)
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
PORT_FIELDS = {"icmp": "tp_src", "tcp": "tp_dst", "udp": "tp_dst"}
OTHERS: Ranges = ((0, 0), (2, 5), (7, 16), (18, 255))
EVERY: Ranges = ((0, 65535),)
UNTAGGED: Ranges = tuple((high << 13, high << 13) for high in range(8))  # vlan_tci with no VLAN and no CFI
WHOLE: Ranges = ((0, 0), (2, 2))  # the lowest bit of nw_frag says that a packet is a piece; nothing has 2 alone
IPV4, ARP = ((0x0800, 0x0800),), ((0x0806, 0x0806),)


class Intent:
    """The expectation for every pair of hosts in every state, from an ordered list of rules."""

    def __init__(self, plan: Plan, space: Space) -> None:
        self.plan = plan
        self.space = space
        self._pairs = [(src, dst) for src in plan.hosts for dst in plan.hosts if src != dst]
        self._allowed: dict[object, Node] = {}
        self._deciders = {(a.name, b.name): frozenset(plan.policed_by(a.name, b.name)) for a, b in self._pairs}
        self._frames = {(a.name, b.name): space.box(frame(a, b)) for a, b in self._pairs}
        self._arps = {(a.name, b.name): space.box(arp(a, b)) for a, b in self._pairs}
        self._errors = space.box({"nw_proto": ((1, 1),), "tp_src": ICMP_ERRORS})
        self._spoken: dict[Pair, list[Pair]] = {}

    def expected(self, rules: Iterable[Rule], overlays: Iterable[Overlay] = ()) -> dict[str, dict[Pair, Node]]:
        """State -> (from, to) -> all packets that are to arrive.

        No conversation becomes known to a switch whose first table drops its packets, nor to any beyond: what an
        overlay takes away cannot begin, so it has no answers either.
        """
        space = self.space
        allowed = {
            pair: space.within(self.allowed(speaking), self._frames[pair])
            for pair, speaking in self.spoken(rules).items()
        }
        taken = {pair: self._taken(pair, overlays) for pair in allowed} if (overlays := tuple(overlays)) else {}
        begin = {pair: self._left(pair, node, taken) for pair, node in allowed.items()}
        turned = {pair: self._turned(pair, begin[pair[1], pair[0]]) for pair in begin}
        made = {
            "first": begin,
            "onward": begin,
            "answer": turned,
            "related": self._related(allowed, taken),
            "invalid": dict.fromkeys(begin, space.nothing),
            "any": {pair: space.join(begin[pair], turned[pair]) for pair in begin},
        }
        return {
            state: {pair: space.join(self._left(pair, ip, taken), self._arps[pair]) for pair, ip in table.items()}
            for state, table in made.items()
        }

    def _taken(self, pair: Pair, overlays: Iterable[Overlay]) -> Taken:
        """The packets that overlays drop between two hosts, in the order of the switches at which they do."""
        way = [hop.switch for hop in self.plan.path(*pair)]
        parts = [
            (way.index(overlay.match.switch), self.space.box(box))
            for overlay in overlays
            if overlay.match.switch in way
            for box in overlaid(overlay.match, *pair)
        ]
        return tuple(sorted(parts, key=lambda part: part[0]))

    def _left(self, pair: Pair, node: Node, taken: Mapping[Pair, Taken]) -> Node:
        for _, part in taken.get(pair, ()):
            node = self.space.minus(node, part)
        return node

    def spoken(self, rules: Iterable[Rule]) -> dict[Pair, list[Rule]]:
        """The rules that speak of each pair of hosts, in order."""
        table: dict[Pair, list[Rule]] = {pair: [] for pair in self._frames}
        for rule in rules:
            for pair in self._pairs_of(rule):
                table[pair].append(rule)
        return table

    def _pairs_of(self, rule: Rule) -> list[Pair]:
        """Remembered, because a policy says the same names again and again."""
        sides = (rule.src, rule.dst)
        if sides not in self._spoken:
            self._spoken[sides] = [(src.name, dst.name) for src, dst in pairs(rule, self.plan)]
        return self._spoken[sides]

    def allowed(self, rules: Iterable[Rule]) -> Node:
        """The conversations that rules about one pair allow to begin: protocols and ports."""
        return self._allow(tuple((rule.proto, rule.ports, rule.action) for rule in rules))

    def decided(self, rules: Iterable[Rule], among: Node) -> list[tuple[Rule, Node]]:
        """Each rule with the part of ``among`` that it decides; rules that decide about nothing are left out."""
        made = []
        for rule in rules:
            part = self.space.within(self._allow(((rule.proto, rule.ports, "allow"),)), among)
            if part is not self.space.nothing:
                made.append((rule, part))
                among = self.space.minus(among, part)
        return made

    def _turned(self, pair: Pair, other_way: Node) -> Node:
        """The answers to what the other may begin, in this host's frames."""
        memo = self.space.memo("turned")
        key = (pair, other_way)
        if key not in memo:
            tuples = reverse(self.space, self.space.forget(other_way, _TUPLE))
            memo[key] = self.space.within(tuples, self._frames[pair])
        node: Node = memo[key]
        return node

    def _allow(self, rules: tuple[tuple[str, Ranges | None, str], ...]) -> Node:
        """The packets that the first match allows, of all that can be sent between one pair."""
        node = self._allowed.get(rules)
        if node is None:
            boxes = [box for proto in (*PROTOCOLS, "other") if (box := _allowed_box(proto, rules)) is not None]
            node = self._allowed[rules] = self.space.all(self.space.box(box) for box in boxes)
        return node

    def _related(self, allowed: Mapping[Pair, Node], taken: Mapping[Pair, Taken]) -> dict[Pair, Node]:
        """ICMP errors reach a host wherever each deciding switch knows one and the same conversation of that host."""
        nothing = self.space.nothing
        known: dict[str, set[frozenset[str]]] = {host.name: {frozenset()} for host in self.plan.hosts}
        for pair, begin in allowed.items():
            for deciders in self._knowing(pair, begin, taken.get(pair, ())):
                for host in pair:
                    known[host].add(deciders)
        return {
            pair: self.space.within(self._errors, self._frames[pair])
            if any(self._deciders[pair] <= deciders for deciders in known[pair[1]])
            else nothing
            for pair in allowed
        }

    def _knowing(self, pair: Pair, begin: Node, taken: Taken) -> Iterator[frozenset[str]]:
        """The switches that come to know conversations of two hosts: all that decide, or those before an overlay."""
        for at, part in taken:
            if self.space.within(part, begin) is not self.space.nothing:
                before = {hop.switch for hop in self.plan.path(*pair)[:at]}
                yield self._deciders[pair] & before
                begin = self.space.minus(begin, part)
        if begin is not self.space.nothing:
            yield self._deciders[pair]


_TUPLE = frozenset({3, 4, 5, 6, 10, 11})


def _allowed_box(proto: str, rules: Iterable[tuple[str, Ranges | None, str]]) -> Box | None:
    """The allowed packets of one protocol: rules are laid down from the last to the first, each over those below it."""
    allowed: Ranges = ()
    for name, ports, action in reversed(tuple(rules)):
        if name in (proto, "any"):
            over = EVERY if ports is None else ports
            allowed = united((*allowed, *over)) if action == "allow" else _cut(allowed, over)
    if not allowed:
        return None
    if proto == "other":
        return {"nw_proto": OTHERS}
    number = PROTOCOLS[proto]
    return {"nw_proto": ((number, number),), **({} if allowed == EVERY else {PORT_FIELDS[proto]: allowed})}


def _cut(ranges: Ranges, away: Ranges) -> Ranges:
    for low, high in away:
        ranges = tuple(
            (first, last)
            for a, b in ranges
            for first, last in ((a, min(b, low - 1)), (max(a, high + 1), b))
            if first <= last
        )
    return ranges


def frame(src: Host, dst: Host) -> Box:
    """IPv4 as one host sends it to another: untagged, whole, under its own MAC and address."""
    return {
        "eth_type": IPV4,
        "vlan_tci": UNTAGGED,
        "eth_src": _one(mac_number(src.mac)),
        "eth_dst": _one(mac_number(dst.mac)),
        "nw_src": _one(address(src)),
        "nw_dst": _one(address(dst)),
        "nw_frag": WHOLE,
    }


def arp(src: Host, dst: Host) -> Box:
    """ARP that one host may send and that is about another: requests and answers alike."""
    return {
        "eth_type": ARP,
        "vlan_tci": UNTAGGED,
        "eth_src": _one(mac_number(src.mac)),
        "arp_sha": _one(mac_number(src.mac)),
        "nw_src": _one(address(src)),
        "nw_dst": _one(address(dst)),
    }


def overlaid(match: Match, src: str, dst: str) -> Iterator[Box]:
    """The packets from one host to another that an overlay's match covers."""
    for one, other, field in ((src, dst, "tp_dst"), (dst, src, "tp_src"))[: 1 + match.answers]:
        if match.src in (ANY, one) and match.dst in (ANY, other) and not {one, other} & set(match.exempt):
            proto = {} if match.proto == ANY else {"nw_proto": _one(PROTOCOLS[match.proto])}
            yield {"eth_type": IPV4, **proto, **({} if match.port is None else {field: _one(match.port)})}


def address(host: Host) -> int:
    """A host's address as the number that it is."""
    return int(ipaddress.ip_address(host.ip))


def _one(value: int) -> Ranges:
    return ((value, value),)
