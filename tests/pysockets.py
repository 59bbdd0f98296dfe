"""The links of a network of Python switches (flowtable.py), for a prober that thinks they are real ones.

Hosts behave as Linux does where a probe depends on it: a SYN that arrives is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from flowtable import Packet, SimulatedNetwork, answer

from controllers.flow import Flow
from topo.plan import Plan

SYN, RST, ACK = 2, 4, 16


class PyPacketSockets:
    """As experiments.instruments.packetsockets.PacketSockets. ``deaf``: hosts of which nothing is received."""

    def __init__(self, plan: Plan, flows: Iterable[Flow], *, deaf: Iterable[str] = ()) -> None:
        # two flows that do the same may contradict each other in what they count for
        self.network = SimulatedNetwork(plan, [replace(flow, cookie=0) for flow in flows], eager=True)
        self.deaf = set(deaf)
        self._arrived: deque[tuple[str, bytes]] = deque()
        self._hosts = {host.name: host for host in plan.hosts}

    def send(self, host: str, frame: bytes) -> None:
        packet = parsed(frame)
        where = self.network.send(host, packet).arrived
        if where is None:
            return
        self._arrived.append((where, frame))
        own = self._hosts[where]
        if packet.syn and not packet.ack and packet.ipv4_dst == own.ip and packet.eth_dst == own.mac:
            self.send(where, _refusal(frame, answer(packet)))

    def arrivals(self, seconds: float) -> Iterator[tuple[str, bytes]]:
        while self._arrived:
            host, frame = self._arrived.popleft()
            if host not in self.deaf:
                yield host, frame


def _refusal(frame: bytes, back: Packet) -> bytes:
    """The reset that answers a SYN, checksums left out."""
    ends = frame[30:34] + frame[26:30] + frame[36:38] + frame[34:36]
    return frame[6:12] + frame[:6] + frame[12:26] + ends + frame[38:47] + bytes([RST | ACK]) + frame[48:]


def parsed(frame: bytes) -> Packet:
    """A frame's fields, by OpenFlow's names."""
    packet = Packet(eth_src=_mac(frame[6:12]), eth_dst=_mac(frame[:6]), eth_type=_word(frame, 12))
    rest = frame[14:]
    if packet.eth_type == 0x8100:
        packet = replace(packet, vlan_vid=_word(rest, 0) | 0x1000, eth_type=_word(rest, 2))
        rest = rest[4:]
    if packet.eth_type == 0x0806:
        return replace(packet, arp_sha=_mac(rest[8:14]), arp_spa=_ip(rest[14:18]), arp_tpa=_ip(rest[24:28]))
    return _parsed_ip(packet, rest) if packet.eth_type == 0x0800 else packet


def _parsed_ip(packet: Packet, rest: bytes) -> Packet:
    packet = replace(packet, ipv4_src=_ip(rest[12:16]), ipv4_dst=_ip(rest[16:20]), ip_proto=rest[9])
    inner = rest[20:]
    if packet.ip_proto == 1:
        packet = replace(packet, icmpv4_type=inner[0], src_port=_word(inner, 4))
        if inner[0] == 3 and len(inner) > 8:
            quoted = Packet(eth_src="", eth_dst="")
            return replace(packet, about=_parsed_ip(quoted, inner[8:]))
        return packet
    if packet.ip_proto in (6, 17):
        packet = replace(packet, src_port=_word(inner, 0), dst_port=_word(inner, 2))
    if packet.ip_proto == 6 and len(inner) > 13:
        packet = replace(packet, syn=bool(inner[13] & SYN), ack=bool(inner[13] & ACK))
    return packet


def _mac(data: bytes) -> str:
    return ":".join(f"{each:02x}" for each in data)


def _ip(data: bytes) -> str:
    return ".".join(map(str, data))


def _word(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
