"""Single frames, crafted with Scapy: well-formed ones of a conversation, and forged ones.

Crafting takes half a millisecond, so a frame is crafted once and sent many times, each time under another *number*:
TCP and UDP carry it as the beginner's port, ICMP as its identifier, so that every conversation is a new one and
whatever arrives late is known by its number.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from controllers.verify.tracker import ICMP_ANSWERS
from topo.plan import Host

Point: TypeAlias = Mapping[str, int]  # a value for each of controllers.verify.packetset.FIELDS

Forged: TypeAlias = Mapping[str, Any]
UNFORGED: Forged = {}

ETHERNET, VLAN, IP, ICMP = 14, 4, 20, 8
IPV4, ARP, VLAN_PRESENT = 0x0800, 0x0806, 0x1000
FIRST_NUMBER = 20480  # numbers are below the ports that Linux gives to connections
CHECKSUMS = {"tcp": 16, "udp": 6, "icmp": 2}  # within the protocol's header
BROADCAST = "ff:ff:ff:ff:ff:ff"
SILENT, CANARY = 9, 10  # operations of ARP that switches carry like any other, and no host reacts to
QUOTED = IP + 8


@dataclass(frozen=True)
class Talk:
    """A conversation that ``src`` begins; ``port`` is the type for icmp."""

    src: Host
    dst: Host
    proto: str
    port: int

    def __str__(self) -> str:
        return f"{self.src.name} -> {self.dst.name} {self.proto}/{self.port}"


@dataclass(frozen=True)
class NumberedFrame:
    """``at``: where the 16-bit number stands; ``checksum``: that over it, if there is one; ``plus``: added to it."""

    data: bytes
    at: int
    checksum: int | None = None
    plus: int = 0

    def numbered(self, number: int) -> bytes:
        """The frame under a number, its checksum right (RFC 1624)."""
        made = bytearray(self.data)
        old = int.from_bytes(made[self.at : self.at + 2], "big")
        made[self.at : self.at + 2] = (number + self.plus).to_bytes(2, "big")
        if self.checksum is not None:
            total = ~int.from_bytes(made[self.checksum : self.checksum + 2], "big") & 0xFFFF
            total += (~old & 0xFFFF) + number + self.plus
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            made[self.checksum : self.checksum + 2] = (~total & 0xFFFF).to_bytes(2, "big")
        return bytes(made)


def spoken(
    talk: Talk, identity: int, *, flags: str = "S", plus: int = 0, back: bool = False, forged: Forged = UNFORGED
) -> NumberedFrame:
    """A packet of a conversation, or ``back``: an answer to it. ``identity``: its IP id, which tells frames apart.

    ``forged``: another ``eth_src``, ``eth_dst``, ``ip_src``, or a ``vlan``.
    """
    from scapy.layers import inet, l2

    src, dst = (talk.dst, talk.src) if back else (talk.src, talk.dst)
    frame = l2.Ether(src=forged.get("eth_src", src.mac), dst=forged.get("eth_dst", dst.mac))
    if "vlan" in forged:
        frame /= l2.Dot1Q(vlan=forged["vlan"])
    frame /= inet.IP(src=forged.get("ip_src", src.ip), dst=dst.ip, id=identity)
    start = ETHERNET + (VLAN if "vlan" in forged else 0) + IP
    if talk.proto == "icmp":
        kind = dict(ICMP_ANSWERS)[talk.port] if back else talk.port
        frame /= inet.ICMP(type=kind, id=0, seq=identity)
        at = start + 4
    else:
        sport, dport = (talk.port, 0) if back else (0, talk.port)
        tcp = inet.TCP(sport=sport, dport=dport, flags=flags, seq=1, ack=1)
        frame /= tcp if talk.proto == "tcp" else inet.UDP(sport=sport, dport=dport)
        at = start + (2 if back else 0)
    return NumberedFrame(bytes(frame), at, start + CHECKSUMS[talk.proto], plus)


def error_about(
    talk: Talk, src: Host, dst: Host, identity: int, *, plus: int = 0, point: Point | None = None
) -> NumberedFrame:
    """``src`` tells ``dst``, one of a conversation's two, that a packet which it sent did not get there.

    ``point``: how the frame looks outside, where it is not a well-formed one.
    """
    from scapy.layers import inet, l2
    from scapy.packet import Raw

    quoted = spoken(talk, identity, back=dst == talk.dst)
    outer = l2.Ether(src=src.mac, dst=dst.mac) / inet.IP(src=src.ip, dst=dst.ip, id=identity)
    if point is not None:
        outer = _ether(point) / inet.IP(src=_ip(point["nw_src"]), dst=_ip(point["nw_dst"]), id=identity)
    data = bytes(outer / inet.ICMP(type=3, code=1) / Raw(quoted.data[ETHERNET : ETHERNET + QUOTED]))
    start = len(data) - QUOTED
    return NumberedFrame(data, start + quoted.at - ETHERNET, start - ICMP + CHECKSUMS["icmp"], plus)


def of_point(point: Point, identity: int, *, flags: str, back: bool) -> NumberedFrame:
    """The packet that a point of the packet set is. ``back``: the number is the receiver's port."""
    from scapy.layers import inet, l2
    from scapy.packet import Raw

    if point["eth_type"] == ARP:
        op, spa, tpa = point["nw_proto"], _ip(point["nw_src"]), _ip(point["nw_dst"])
        asked = l2.ARP(op=op, psrc=spa, pdst=tpa, hwsrc=_mac(point["arp_sha"]), hwdst=_mac(point["arp_tha"]))
        return _tailed(bytes(_ether(point, ARP) / asked / Raw(bytes(18))))
    if point["eth_type"] != IPV4:
        return _tailed(bytes(_ether(point, point["eth_type"]) / Raw(bytes(46))))
    packet = inet.IP(src=_ip(point["nw_src"]), dst=_ip(point["nw_dst"]), id=identity, proto=point["nw_proto"])
    packet.flags, packet.frag = {0: ("", 0), 1: ("MF", 0)}.get(point["nw_frag"], ("", 1))
    outer = _ether(point) / packet
    start = len(outer)
    source, target = point["tp_src"], point["tp_dst"]
    inner: Any = Raw(bytes(20))
    if point["nw_proto"] == 1:
        inner = inet.ICMP(type=source & 0xFF, code=target & 0xFF, id=0, seq=identity)
    elif point["nw_proto"] == 6:
        inner = inet.TCP(sport=source, dport=target, flags=flags, seq=1, ack=1)
    elif point["nw_proto"] == 17:
        inner = inet.UDP(sport=source, dport=target)
    data = bytes(outer / inner)
    if point["nw_proto"] == 1:
        return NumberedFrame(data, start + 4, start + CHECKSUMS["icmp"])
    if point["nw_proto"] in (6, 17) and (target if back else source) == FIRST_NUMBER:
        checksum = CHECKSUMS["tcp" if point["nw_proto"] == 6 else "udp"]
        return NumberedFrame(data, start + (2 if back else 0), start + checksum)
    return NumberedFrame(data, start - IP + 4, start - IP + 10)  # its IP id


def _ether(point: Point, kind: int = IPV4) -> Any:
    from scapy.layers import l2

    tag = point["vlan_tci"]
    frame = l2.Ether(src=_mac(point["eth_src"]), dst=_mac(point["eth_dst"]), type=0x8100 if tag else kind)
    return frame / l2.Dot1Q(vlan=tag & 0xFFF, prio=tag >> 13, type=kind) if tag else frame


def _mac(number: int) -> str:
    return ":".join(f"{number:012x}"[at : at + 2] for at in range(0, 12, 2))


def _ip(number: int) -> str:
    return str(ipaddress.ip_address(number))


def arp(src: Host, dst: Host, *, operation: int = SILENT, forged: Forged = UNFORGED) -> NumberedFrame:
    """``forged``: another ``eth_src``, ``eth_dst``, ``spa``, ``sha``, ``tpa``, or a ``vlan``. The number is last."""
    from scapy.layers import l2
    from scapy.packet import Raw

    frame = l2.Ether(src=forged.get("eth_src", src.mac), dst=forged.get("eth_dst", BROADCAST))
    if "vlan" in forged:
        frame /= l2.Dot1Q(vlan=forged["vlan"])
    frame /= l2.ARP(
        op=operation,
        psrc=forged.get("spa", src.ip),
        hwsrc=forged.get("sha", src.mac),
        pdst=forged.get("tpa", dst.ip),
        hwdst="00:00:00:00:00:00",
    )
    return _tailed(bytes(frame / Raw(bytes(18))))


def other(src: Host, eth_dst: str, kind: int) -> NumberedFrame:
    """A frame of some other ethertype."""
    from scapy.layers import l2
    from scapy.packet import Raw

    return _tailed(bytes(l2.Ether(src=src.mac, dst=eth_dst, type=kind) / Raw(bytes(46))))


def _tailed(data: bytes) -> NumberedFrame:
    return NumberedFrame(data, len(data) - 2)
