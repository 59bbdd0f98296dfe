"""Witnesses: packets out of the sets in which oracle 2 says that policy and flows differ.

Each set of packets that should and does not arrive, or does and should not, gives boxes; of each box one packet is sent
for real. Where a connection tracker must know the conversation it is begun first. Where a witness is wanted is the
policy's word (``decide``), not the proof's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

from controllers.compile import ARP_TYPE, IPV4, PROTO_NAMES
from controllers.ovs.dump import mac_number
from controllers.policy import Rule, decide
from controllers.verify.explain import boxes_of, packet, turned
from controllers.verify.intent import address
from controllers.verify.packetset import FIELDS, Box
from controllers.verify.proof import Difference
from experiments.firewall_mutants import crafted
from experiments.firewall_mutants.crafted import FIRST_NUMBER, VLAN_PRESENT, Point, Talk
from experiments.firewall_mutants.probes import Probe
from topo.plan import Host, Plan

MOST_BOXES = 3  # of each difference
MOST = 120
MOST_TALKS = 3
ICMP, TCP, UDP = 1, 6, 17
# the values that make the likeliest packets, where a box leaves the choice
PREFERRED = {
    "eth_type": (IPV4, ARP_TYPE, 0x88B5),
    "nw_proto": (TCP, UDP, ICMP),
    "vlan_tci": (0, VLAN_PRESENT | 5),
    "nw_frag": (0,),
}


def witnesses(plan: Plan, rules: Sequence[Rule], differences: Sequence[Difference]) -> tuple[Probe, ...]:
    """The probes, those of different states and pairs first."""
    return tuple(Witnesses(plan, tuple(rules)).probes(differences))


class Witnesses:
    """A set of them in the making."""

    def __init__(self, plan: Plan, rules: tuple[Rule, ...]) -> None:
        self.plan = plan
        self.rules = rules
        self.identity = count(1)

    def probes(self, differences: Sequence[Difference]) -> Iterator[Probe]:
        boxes = [(one, box) for one in differences for box in islice(boxes_of(one.packets), MOST_BOXES)]
        for number, (difference, box) in enumerate(boxes[:MOST]):
            ends = f"{difference.src} -> {difference.dst}"
            name = f"witness {number}, {difference.state}: {ends} {packet(self.plan, box, difference)}"
            yield from self._of(difference, box, name)

    def _of(self, difference: Difference, box: Box, name: str) -> Iterator[Probe]:
        src, dst = self.plan.host(difference.src), self.plan.host(difference.dst)
        if difference.state == "related":
            yield from self._error(src, dst, box, name)
            return
        states = ("first", "onward", "answer") if difference.state == "any" else (difference.state,)
        for state in states:
            point = chosen(box, src, dst, state)
            yield from self._sent(src, dst, point, state, f"{name} ({state})")

    def _sent(self, src: Host, dst: Host, point: Point, state: str, name: str) -> Iterator[Probe]:
        talk = conversation(src, dst, point, state)
        opener = ""
        if talk is not None and state in ("onward", "answer"):
            opener = f"{name}: begun"
            frame = crafted.spoken(talk, next(self.identity))
            yield Probe(opener, talk.src.name, frame, None, judged=False)
        flags = {"first": "S", "invalid": "SA"}.get(state, "A")
        frame = crafted.of_point(point, next(self.identity), flags=flags, back=state == "answer")
        well_formed = is_well_formed(src, dst, point)
        wanted = well_formed and state != "invalid" and (talk is None or self._allowed(talk))
        by = "flow" if well_formed and talk is not None and talk.proto == "tcp" and opener else "frame"
        yield Probe(name, src.name, frame, dst.name if wanted else None, turn=int(bool(opener)), after=opener, by=by)

    def _error(self, src: Host, dst: Host, box: Box, name: str) -> Iterator[Probe]:
        """An ICMP error about any conversation of ``dst`` that is allowed: those that all on the way know first."""
        deciders, point = set(self.plan.policed_by(src.name, dst.name)), chosen(box, src, dst, "related")
        talks = {
            talk: deciders <= set(self.plan.policed_by(talk.src.name, talk.dst.name)) for talk in self._talks_of(dst)
        }
        for talk, known in sorted(talks.items(), key=lambda each: not each[1])[:MOST_TALKS]:
            opener = f"{name}: {talk} begun"
            yield Probe(opener, talk.src.name, crafted.spoken(talk, next(self.identity)), None, judged=False)
            frame = crafted.error_about(talk, src, dst, next(self.identity), point=point)
            wanted = dst.name if known and is_well_formed(src, dst, point) else None
            yield Probe(f"{name}, about {talk}", src.name, frame, wanted, turn=2, after=opener)

    def _talks_of(self, host: Host) -> Iterator[Talk]:
        for rule in self.rules:
            for src in self.plan.hosts:
                for dst in self.plan.hosts:
                    proto = "tcp" if rule.proto == "any" else rule.proto
                    port = (rule.ports or ((80, 80),))[0][0]
                    talk = Talk(src, dst, proto, port)
                    if src != dst and host in (src, dst) and self._decides(rule, talk):
                        yield talk

    def _decides(self, rule: Rule, talk: Talk) -> bool:
        ruling = decide(self.rules, self.plan, talk.src.name, talk.dst.name, talk.proto, talk.port)
        return ruling == rule and rule.action == "allow"

    def _allowed(self, talk: Talk) -> bool:
        ruling = decide(self.rules, self.plan, talk.src.name, talk.dst.name, talk.proto, talk.port)
        return ruling.action == "allow"


def chosen(box: Box, src: Host, dst: Host, state: str) -> Point:
    """One packet of a box: well-formed and usual as far as the box allows it."""
    number = "tp_dst" if state == "answer" else "tp_src"
    preferred: dict[str, tuple[int, ...]] = PREFERRED | {
        "eth_src": (mac_number(src.mac),),
        "eth_dst": (mac_number(dst.mac),),
        "nw_src": (address(src),),
        "nw_dst": (address(dst),),
        "arp_sha": (mac_number(src.mac),),
        "tp_src": (53, 80, 1),
        "tp_dst": (53, 80, 1),
    }
    point = {name: _value(box, name, preferred.get(name, ())) for name in FIELDS}
    if point["nw_proto"] == ICMP:
        kinds = (0, 14) if state in ("answer", "invalid") else (8, 13)
        return {**point, "tp_src": _value(box, "tp_src", kinds), "tp_dst": _value(box, "tp_dst", (0,))}
    return {**point, number: _value(box, number, (FIRST_NUMBER, 1))}


def _value(box: Box, name: str, preferred: Sequence[int]) -> int:
    ranges = box.get(name)
    if ranges is None:
        return preferred[0] if preferred else 0
    for value in preferred:
        if any(low <= value <= high for low, high in ranges):
            return value
    return ranges[0][0]


def conversation(src: Host, dst: Host, point: Point, state: str) -> Talk | None:
    """The conversation that a packet would belong to; None for what is no IPv4 of a protocol that rules name."""
    if point["eth_type"] != IPV4 or point["nw_proto"] not in PROTO_NAMES:
        return None
    proto = PROTO_NAMES[point["nw_proto"]]
    if state == "answer":
        src, dst, point = dst, src, turned(dict(point))
    return Talk(src, dst, proto, point["tp_src" if proto == "icmp" else "tp_dst"])


def is_well_formed(src: Host, dst: Host, point: Point) -> bool:
    """Does a host send under its own name, untagged, to the right neighbour: IPv4 or ARP?"""
    if point["vlan_tci"] & 0x1FFF or point["eth_src"] != mac_number(src.mac) or point["nw_src"] != address(src):
        return False
    if point["nw_dst"] != address(dst):
        return False
    if point["eth_type"] == ARP_TYPE:
        return point["arp_sha"] == mac_number(src.mac)
    return point["eth_type"] == IPV4 and point["eth_dst"] == mac_number(dst.mac)
