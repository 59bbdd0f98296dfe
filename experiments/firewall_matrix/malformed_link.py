"""Frames under a false name, to everybody, or of other protocols than IPv4 and ARP; and the well-formed packets.

Some wrap IPv4 in something that a filter may not look into. Each changes one thing in layers as a host would send them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.malformed import (
    ANY_PORT,
    MUST,
    NEVER,
    PRETENDING,
    Craft,
    CraftedFrame,
    CraftedPacket,
    ProbeTarget,
)
from topo.plan import NETWORK, Host

# --- layers as a host would send them: each malformed packet changes one thing -----------------------------------


def link(target: ProbeTarget, **fields: Any) -> Packet:
    """Ethernet, from the sender's own MAC to the receiver's."""
    return Ether(**{"src": target.src.mac, "dst": target.dst.mac, **fields})


def ip(target: ProbeTarget, **fields: Any) -> Packet:
    """IPv4, from the sender's own address to the receiver's."""
    return IP(**{"src": target.src.ip, "dst": target.dst.ip, "id": int.from_bytes(target.token[:2], "big"), **fields})


def segment(target: ProbeTarget, **fields: Any) -> Packet:
    """A SYN, with the token for its numbers: it needs no data to be recognised."""
    seq, ack = (int.from_bytes(half, "big") for half in (target.token[:4], target.token[4:]))
    return TCP(**{"sport": target.sport, "dport": target.port, "flags": "S", "seq": seq, "ack": ack, **fields})


def datagram(target: ProbeTarget, **fields: Any) -> Packet:
    """UDP, with the token for its data."""
    return UDP(**{"sport": target.sport, "dport": target.port, **fields}) / Raw(target.token)


def one(target: ProbeTarget, packet: Packet) -> tuple[CraftedFrame, ...]:
    """A single frame with the token in it."""
    return (CraftedFrame(bytes(packet), target.token),)


# --- addresses ---------------------------------------------------------------------------------------------------

BROADCAST, ALL_SYSTEMS = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"
REQUEST, REPLY = 1, 2


def _as_other(*, mac: bool, address: bool) -> Craft:
    def craft(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
        frame = link(target, src=target.other.mac if mac else target.src.mac)
        return one(target, frame / ip(target, src=target.other.ip if address else target.src.ip) / segment(target))

    return craft


def _from(address: str) -> Craft:
    return lambda target: one(target, link(target) / ip(target, src=address) / segment(target))


def _land(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target) / ip(target, src=target.dst.ip) / segment(target, sport=target.port))


def _to(mac: str, address: str | None = None) -> Craft:
    """A datagram to a MAC address and to an address: to the destination's own by default."""
    return lambda target: one(
        target, link(target, dst=mac) / ip(target, dst=address or target.dst.ip) / datagram(target)
    )


def _crossed(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    """To one host's address and another's MAC: only one of them may get it."""
    return one(target, link(target, dst=target.other.mac) / ip(target) / segment(target))


def arp(target: ProbeTarget, **fields: Any) -> Packet:
    """A well-formed request, with the token in what fills the frame up."""
    plain = {"op": REQUEST, "hwsrc": target.src.mac, "psrc": target.src.ip, "pdst": target.dst.ip}
    return ARP(**{**plain, **fields}) / Raw(target.token + bytes(10))


def _gratuitous(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, dst=BROADCAST) / arp(target, psrc=target.other.ip, pdst=target.other.ip))


def _arp_reply(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target) / arp(target, op=REPLY, psrc=target.other.ip, hwdst=target.dst.mac))


def _arp_request(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, dst=BROADCAST) / arp(target, psrc=target.other.ip))


def _arp_foreign_mac(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target) / arp(target, op=REPLY, hwsrc=target.other.mac, hwdst=target.dst.mac))


def _arp_in_disguise(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    """In a frame from another MAC than the one it speaks of."""
    return one(target, link(target, src=target.other.mac) / arp(target))


def _reverse_arp(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, type=0x8035) / arp(target, op=4, hwdst=target.dst.mac))


NAME = "behind each port one MAC and one address are bound"
EVERYBODY = "each packet has one destination: there is no flooding"
POISON = "a host that answers for another's address gets what is meant for that one"

ADDRESSES = (
    CraftedPacket("another's address", NEVER, NAME, _as_other(mac=False, address=True), PRETENDING),
    CraftedPacket("another's MAC", NEVER, NAME, _as_other(mac=True, address=False), PRETENDING),
    CraftedPacket("another's address and MAC", NEVER, NAME, _as_other(mac=True, address=True), PRETENDING),
    CraftedPacket("from 127.0.0.1", NEVER, NAME, _from("127.0.0.1")),
    CraftedPacket("from 0.0.0.0", NEVER, NAME, _from("0.0.0.0")),
    CraftedPacket("from 224.0.0.1", NEVER, NAME, _from("224.0.0.1")),
    CraftedPacket("land: from the receiver's own address", NEVER, NAME, _land),
    CraftedPacket("to 255.255.255.255", NEVER, EVERYBODY, _to(BROADCAST, "255.255.255.255")),
    CraftedPacket(
        "to the network's broadcast address", NEVER, EVERYBODY, _to(BROADCAST, str(NETWORK.broadcast_address))
    ),
    CraftedPacket("to 224.0.0.1", NEVER, EVERYBODY, _to(ALL_SYSTEMS, "224.0.0.1")),
    CraftedPacket("to one address, and everybody's MAC", NEVER, EVERYBODY, _to(BROADCAST), proto="udp"),
    CraftedPacket("to one's address, and another's MAC", NEVER, EVERYBODY, _crossed),
    CraftedPacket("ARP, gratuitous, for another's address", NEVER, POISON, _gratuitous, PRETENDING),
    CraftedPacket("ARP reply for another's address", NEVER, POISON, _arp_reply, PRETENDING),
    CraftedPacket("ARP request as from another", NEVER, POISON, _arp_request, PRETENDING),
    CraftedPacket("ARP reply with another's MAC", NEVER, POISON, _arp_foreign_mac, PRETENDING),
    CraftedPacket("ARP in a frame from another's MAC", NEVER, POISON, _arp_in_disguise, PRETENDING),
    CraftedPacket("reverse ARP", NEVER, POISON, _reverse_arp),
)


# --- other protocols ---------------------------------------------------------------------------------------------

BRIDGES, LLDP_BRIDGES = "01:80:c2:00:00:00", "01:80:c2:00:00:0e"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def _link_local(host: Host) -> str:
    """The address that IPv6 makes of a MAC."""
    first, *rest = (int(part, 16) for part in host.mac.split(":"))
    a, b, c, d, e = rest
    return f"fe80::{first ^ 2:x}{a:02x}:{b:02x}ff:fe{c:02x}:{d:02x}{e:02x}"


def _tagged(*tags: Packet) -> Craft:
    def craft(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
        frame = link(target)
        for tag in tags:
            frame = frame / tag.copy()
        return one(target, frame / ip(target) / segment(target))

    return craft


def _typed(number: int, mac: str | None = None) -> Craft:
    """A frame of that type, to the receiver or to a group's MAC."""
    return lambda target: one(
        target, link(target, type=number, dst=mac or target.dst.mac) / Raw(target.token + bytes(40))
    )


def _mpls(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, type=0x8847) / MPLS(label=3, s=1) / ip(target) / segment(target))


def _ipv4_by_another_type(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, type=0x86DD) / Raw(bytes(ip(target) / segment(target))))


def _spanning_tree(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, Dot3(src=target.src.mac, dst=BRIDGES) / LLC() / STP() / Raw(target.token))


def _ipv6(make: Callable[[ProbeTarget], Packet], *, everybody: bool = False) -> Craft:
    def craft(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
        mac, address = (ALL_NODES_MAC, ALL_NODES) if everybody else (target.dst.mac, _link_local(target.dst))
        frame = link(target, dst=mac) / IPv6(src=_link_local(target.src), dst=address, hlim=255)
        return one(target, frame / make(target))

    return craft


def _advertised(target: ProbeTarget) -> Packet:
    return ICMPv6ND_RA() / ICMPv6NDOptPrefixInfo(prefix="fd00::") / Raw(target.token)


V4 = "there is IPv4 and ARP on these links, and nothing else"
TAG = "behind a tag a filter may see no addresses"

PROTOCOLS = (
    CraftedPacket("VLAN tag", NEVER, TAG, _tagged(Dot1Q(vlan=7))),
    CraftedPacket("VLAN tag for priority alone", NEVER, TAG, _tagged(Dot1Q(vlan=0, prio=5))),
    CraftedPacket("two VLAN tags", NEVER, TAG, _tagged(Dot1Q(vlan=7), Dot1Q(vlan=8))),
    CraftedPacket("VLAN tag in a provider's tag", NEVER, TAG, _tagged(Dot1AD(vlan=7), Dot1Q(vlan=8))),
    CraftedPacket("MPLS", NEVER, TAG, _mpls),
    CraftedPacket("LLDP", NEVER, V4, _typed(0x88CC, LLDP_BRIDGES)),
    CraftedPacket("LLDP to one host", NEVER, V4, _typed(0x88CC)),
    CraftedPacket("spanning tree", NEVER, V4, _spanning_tree),
    CraftedPacket("ethertype 0x88b5", NEVER, V4, _typed(0x88B5)),
    CraftedPacket("IPv4 that says it is IPv6", NEVER, V4, _ipv4_by_another_type),
    CraftedPacket("IPv6: TCP", NEVER, V4, _ipv6(segment)),
    CraftedPacket("IPv6: neighbour solicitation", NEVER, V4, _ipv6(lambda target: ICMPv6ND_NS() / Raw(target.token))),
    CraftedPacket("IPv6: neighbour advertisement", NEVER, V4, _ipv6(lambda target: ICMPv6ND_NA() / Raw(target.token))),
    CraftedPacket("IPv6: router advertisement", NEVER, V4, _ipv6(_advertised, everybody=True)),
)


# --- well-formed packets: where these are not seen, nothing was looked at ----------------------------------------


def _request(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target, dst=BROADCAST) / arp(target))


def _syn(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target) / ip(target) / segment(target))


HEARD = "what is not seen proves nothing where this is not seen either"

WELL_FORMED = (
    CraftedPacket("well-formed SYN", MUST, HEARD, _syn),
    CraftedPacket("well-formed ARP request", MUST, HEARD, _request, ANY_PORT),
)
