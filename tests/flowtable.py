"""A network of switches in pure Python: it walks compiled flows as Open vSwitch would, connection tracker included.

What is modelled: tables and priorities, OpenFlow's prerequisites, goto, output, ``ct`` with zones, commit and marks,
the states new, est, rel, rpl, inv and trk, SYN+ACK and answers that begin nothing, ICMP errors about a connection.
Two flows of one priority that both match and differ are an error here: OpenFlow leaves open which one a switch takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from ipaddress import IPv4Address

from controllers.compile import ARP_TYPE, IPV4, UNTAGGED
from controllers.flow import (
    CT_EST,
    CT_INV,
    CT_NEW,
    CT_REL,
    CT_RPL,
    CT_TRK,
    Conntrack,
    Flow,
    Goto,
    MatchValue,
    Output,
    Sample,
)
from controllers.ovs.dump import mac_number
from topo.plan import Host, Plan
from topo.wiring import End

IPV6 = 0x86DD
VLAN_PRESENT = 0x1000
ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST = 0, 3, 8
ICMP_ANSWERS = {8: 0, 13: 14, 15: 16, 17: 18} | {0: 8, 14: 13, 16: 15, 18: 17}
ICMP_REQUESTS = (8, 13, 15, 17)
BROADCAST = "ff:ff:ff:ff:ff:ff"

# what must be matched beside a field, or a switch refuses the flow
PREREQUISITES: Mapping[str, Mapping[str, int]] = {
    "ipv4_src": {"eth_type": IPV4},
    "ipv4_dst": {"eth_type": IPV4},
    "ip_proto": {"eth_type": IPV4},
    "ct_state": {"eth_type": IPV4},
    "ip_frag": {"eth_type": IPV4},
    "tcp_dst": {"eth_type": IPV4, "ip_proto": TCP},
    "udp_dst": {"eth_type": IPV4, "ip_proto": UDP},
    "icmpv4_type": {"eth_type": IPV4, "ip_proto": ICMP},
    "arp_spa": {"eth_type": ARP_TYPE},
    "arp_tpa": {"eth_type": ARP_TYPE},
    "arp_sha": {"eth_type": ARP_TYPE},
}


class FlowError(AssertionError):
    """These flows are not what a switch can carry out in one way."""


@dataclass(frozen=True)
class Packet:
    """A packet's header fields, by OpenFlow's names. ``about`` is the packet an ICMP error quotes."""

    eth_src: str
    eth_dst: str
    eth_type: int = IPV4
    vlan_vid: int = UNTAGGED
    ipv4_src: str = ""
    ipv4_dst: str = ""
    ip_proto: int = 0
    src_port: int = 0
    dst_port: int = 0
    icmpv4_type: int = 0
    syn: bool = False
    ack: bool = False
    arp_spa: str = ""
    arp_tpa: str = ""
    arp_sha: str = ""
    ip_frag: int = 0
    about: Packet | None = None

    @cached_property
    def fields(self) -> Mapping[str, MatchValue]:
        names = ["eth_src", "eth_dst", "eth_type", "vlan_vid"]
        if self.eth_type == IPV4:
            names += ["ipv4_src", "ipv4_dst", "ip_proto", "ip_frag"]
            names += ["icmpv4_type"] if self.ip_proto == ICMP else []
        elif self.eth_type == ARP_TYPE:
            names += ["arp_spa", "arp_tpa", "arp_sha"]
        table = {name: getattr(self, name) for name in names}
        if self.eth_type == IPV4 and self.ip_proto in (TCP, UDP):
            kind = {TCP: "tcp", UDP: "udp"}[self.ip_proto]
            table |= {f"{kind}_src": self.src_port, f"{kind}_dst": self.dst_port}
        return table

    @property
    def connection(self) -> tuple[object, ...]:
        """What a connection tracker knows it by, in this direction."""
        if self.ip_proto == ICMP:
            return (self.ipv4_src, self.ipv4_dst, ICMP, self.src_port, self.icmpv4_type)
        return (self.ipv4_src, self.ipv4_dst, self.ip_proto, self.src_port, self.dst_port)

    @property
    def reversed_connection(self) -> tuple[object, ...]:
        """What its answer is known by; an echo's ``src_port`` stands for its identifier, the same both ways."""
        if self.ip_proto == ICMP:
            return (self.ipv4_dst, self.ipv4_src, ICMP, self.src_port, ICMP_ANSWERS.get(self.icmpv4_type, -1))
        return (self.ipv4_dst, self.ipv4_src, self.ip_proto, self.dst_port, self.src_port)

    @property
    def may_begin(self) -> bool:
        """False for what only ever answers: no tracker takes it for the start of a connection."""
        if self.ip_proto == TCP:
            return not (self.syn and self.ack)
        return self.ip_proto != ICMP or self.icmpv4_type in ICMP_REQUESTS


@cache
def first(src: Host, dst: Host, proto: str, port: int, src_port: int = 40000) -> Packet:
    """The packet that begins a conversation; ``port`` is the ICMP type for icmp."""
    number = {"icmp": ICMP, "tcp": TCP, "udp": UDP}[proto]
    packet = Packet(src.mac, dst.mac, ipv4_src=src.ip, ipv4_dst=dst.ip, ip_proto=number)
    if proto == "icmp":
        return replace(packet, icmpv4_type=port, src_port=src_port)
    return replace(packet, src_port=src_port, dst_port=port, syn=proto == "tcp")


def answer(packet: Packet) -> Packet:
    """The first packet back."""
    back = replace(
        packet, eth_src=packet.eth_dst, eth_dst=packet.eth_src, ipv4_src=packet.ipv4_dst, ipv4_dst=packet.ipv4_src
    )
    if packet.ip_proto == ICMP:
        return replace(back, icmpv4_type=ICMP_ANSWERS[packet.icmpv4_type])
    return replace(back, src_port=packet.dst_port, dst_port=packet.src_port, ack=packet.syn)


def error_about(packet: Packet) -> Packet:
    """An ICMP error that the receiver of a packet sends back."""
    back = answer(packet)
    return replace(
        back, ip_proto=ICMP, icmpv4_type=UNREACHABLE, src_port=0, dst_port=0, syn=False, ack=False, about=packet
    )


def arp(src: Host, dst: Host, **forged: str) -> Packet:
    return replace(
        Packet(src.mac, BROADCAST, ARP_TYPE, arp_spa=src.ip, arp_tpa=dst.ip, arp_sha=src.mac),
        **forged,  # type: ignore[arg-type]
    )


@dataclass
class TrackedConnection:
    key: tuple[object, ...]
    mark: int
    answered: bool = False


@dataclass
class Tracker:
    """All zones' connections. ``eager``: known from the first packet on (Open vSwitch's own), not from the first answer
    (the kernel's)."""

    eager: bool = False
    zones: dict[int, list[TrackedConnection]] = field(default_factory=dict)

    def find(self, zone: int, packet: Packet) -> tuple[TrackedConnection, bool] | None:
        for connection in self.zones.get(zone, []):
            if connection.key in (packet.connection, packet.reversed_connection):
                return connection, connection.key != packet.connection
        return None

    def track(self, zone: int, packet: Packet) -> tuple[int, int]:
        """(ct_state, ct_mark)"""
        if packet.about:
            found = self.find(zone, packet.about)
            return (CT_TRK | CT_REL, found[0].mark) if found else (CT_TRK | CT_INV, 0)
        found = self.find(zone, packet)
        if found is None:
            return (CT_TRK | (CT_NEW if packet.may_begin else CT_INV), 0)
        connection, is_reply = found
        connection.answered |= is_reply
        known = CT_EST if connection.answered or self.eager else CT_NEW
        return CT_TRK | known | (CT_RPL if is_reply else 0), connection.mark

    def commit(self, zone: int, packet: Packet, mark: int) -> None:
        found = self.find(zone, packet)
        if found:
            found[0].mark = mark
        else:
            self.zones.setdefault(zone, []).append(TrackedConnection(packet.connection, mark))


@dataclass(frozen=True)
class Trip:
    """Where a packet came (None: dropped) and the last flow it met on each switch, in order."""

    arrived: str | None
    last: tuple[Flow | None, ...]

    @property
    def dropped_by(self) -> Flow | None:
        return None if self.arrived else self.last[-1]


class SimulatedNetwork:
    """The switches of a plan, holding flows. Connections are remembered between calls of ``send``."""

    def __init__(self, plan: Plan, flows: Iterable[Flow], *, eager: bool = False) -> None:
        self.plan = plan
        self.tracker = Tracker(eager)
        self._tables: dict[tuple[str, int], list[Flow]] = {}
        self._at_ports: dict[tuple[str, int, MatchValue], list[Flow]] = {}
        for flow in flows:
            _check_prerequisites(flow)
            self._tables.setdefault((flow.switch, flow.table), []).append(flow)
        for table in self._tables.values():
            table.sort(key=lambda flow: -flow.priority)
        self._far = {own: far for node in plan.switches for own, far in plan.links_of(node.name)}

    def send(self, host: str, packet: Packet) -> Trip:
        """Put a packet on a host's link."""
        ((_, end),) = self.plan.links_of(host)
        last: list[Flow | None] = []
        while True:
            flow, out = self.through(end, packet)
            last.append(flow)
            if out is None:
                return Trip(None, tuple(last))
            if (onward := self._far.get(End(end.node, out))) is None:
                return Trip(None, tuple(last))  # a port where nothing is
            end = onward
            if not self.plan.is_switch(end.node):
                return Trip(end.node, tuple(last))

    def through(self, end: End, packet: Packet, table: int = 0) -> tuple[Flow | None, int | None]:
        """One switch, from ``table`` on: the last flow met, and the port it leaves by (None: dropped)."""
        fields = {**packet.fields, "in_port": end.port, "ct_state": 0, "ct_mark": 0}
        while True:
            flow = self._match(end.node, table, fields)
            if flow is None or not flow.actions:
                return flow, None
            onward = None
            for action in flow.actions:
                if isinstance(action, Output):
                    return flow, action.port
                if isinstance(action, Goto):
                    onward = action.table
                elif isinstance(action, Sample):
                    return flow, None
                elif action.commit:
                    self.tracker.commit(action.zone, packet, action.mark)
                else:
                    fields["ct_state"], fields["ct_mark"] = self.tracker.track(action.zone, packet)
                    onward = action.table
            if onward is None:
                return flow, None
            if onward <= table:
                raise FlowError(f"{flow.text()}: goes back to table {onward}")
            table = onward

    def _match(self, switch: str, number: int, fields: Mapping[str, MatchValue]) -> Flow | None:
        best: Flow | None = None
        for flow in self._at_port(switch, number, fields["in_port"]):
            if best and flow.priority < best.priority:
                break
            if _matches(flow, fields):
                if best and (best.actions, best.cookie) != (flow.actions, flow.cookie):
                    raise FlowError(f"both match, at one priority: {best.text()} and {flow.text()}")
                best = best or flow
        return best

    def _at_port(self, switch: str, number: int, port: MatchValue) -> list[Flow]:
        """The flows of a table that a packet from this port may meet: most name another port."""
        key = (switch, number, port)
        if key not in self._at_ports:
            flows = self._tables.get((switch, number), ())
            self._at_ports[key] = [flow for flow in flows if dict(flow.match).get("in_port", port) == port]
        return self._at_ports[key]


def _matches(flow: Flow, fields: Mapping[str, MatchValue]) -> bool:
    """A plain loop: the tests ask this millions of times."""
    for name, wanted in flow.match:
        have = fields.get(name)
        if have == wanted:
            continue
        if have is None or not isinstance(wanted, tuple) or _number(have) & wanted[1] != wanted[0]:
            return False
    return True


def _number(value: MatchValue) -> int:
    """What a mask is laid over."""
    if isinstance(value, str):
        return mac_number(value) if ":" in value else int(IPv4Address(value))
    assert isinstance(value, int)
    return value


def _check_prerequisites(flow: Flow) -> None:
    match = dict(flow.match)
    for name in match:
        for other, value in PREREQUISITES.get(name, {}).items():
            if match.get(other) != value:
                raise FlowError(f"{flow.text()}: {name} needs {other}={value}")
    for action in flow.actions:
        if isinstance(action, Conntrack) and match.get("eth_type") != IPV4:
            raise FlowError(f"{flow.text()}: ct needs eth_type={IPV4}")
