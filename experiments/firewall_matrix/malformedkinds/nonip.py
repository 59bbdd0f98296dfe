"""Frames that are no untagged IPv4: other protocols, and IPv4 wrapped in something that a filter may not look into."""

from __future__ import annotations

from collections.abc import Callable

from scapy.contrib.mpls import MPLS
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import LLC, STP, Dot1AD, Dot1Q, Dot3
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.crafting import ip, link, one, segment
from experiments.firewall_matrix.oddity import NEVER, Aim, Oddity, Piece
from topo.plan import Host

BRIDGES, LLDP_BRIDGES = "01:80:c2:00:00:00", "01:80:c2:00:00:0e"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def _link_local(host: Host) -> str:
    """The address that IPv6 makes of a MAC."""
    first, *rest = (int(part, 16) for part in host.mac.split(":"))
    a, b, c, d, e = rest
    return f"fe80::{first ^ 2:x}{a:02x}:{b:02x}ff:fe{c:02x}:{d:02x}{e:02x}"


def _tagged(*tags: Packet) -> Callable[[Aim], tuple[Piece, ...]]:
    def craft(aim: Aim) -> tuple[Piece, ...]:
        frame = link(aim)
        for tag in tags:
            frame = frame / tag.copy()
        return one(aim, frame / ip(aim) / segment(aim))

    return craft


def _typed(number: int, mac: str | None = None) -> Callable[[Aim], tuple[Piece, ...]]:
    """A frame of that type, to the receiver or to a group's MAC."""
    return lambda aim: one(aim, link(aim, type=number, dst=mac or aim.dst.mac) / Raw(aim.token + bytes(40)))


def _mpls(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, type=0x8847) / MPLS(label=3, s=1) / ip(aim) / segment(aim))


def _ipv4_by_another_type(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, type=0x86DD) / Raw(bytes(ip(aim) / segment(aim))))


def _spanning_tree(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, Dot3(src=aim.src.mac, dst=BRIDGES) / LLC() / STP() / Raw(aim.token))


def _ipv6(make: Callable[[Aim], Packet], *, everybody: bool = False) -> Callable[[Aim], tuple[Piece, ...]]:
    def craft(aim: Aim) -> tuple[Piece, ...]:
        mac, address = (ALL_NODES_MAC, ALL_NODES) if everybody else (aim.dst.mac, _link_local(aim.dst))
        frame = link(aim, dst=mac) / IPv6(src=_link_local(aim.src), dst=address, hlim=255)
        return one(aim, frame / make(aim))

    return craft


def _advertised(aim: Aim) -> Packet:
    return ICMPv6ND_RA() / ICMPv6NDOptPrefixInfo(prefix="fd00::") / Raw(aim.token)


V4 = "there is IPv4 and ARP on these links, and nothing else"
TAG = "behind a tag a filter may see no addresses"

ODDITIES = (
    Oddity("VLAN tag", NEVER, TAG, _tagged(Dot1Q(vlan=7))),
    Oddity("VLAN tag for priority alone", NEVER, TAG, _tagged(Dot1Q(vlan=0, prio=5))),
    Oddity("two VLAN tags", NEVER, TAG, _tagged(Dot1Q(vlan=7), Dot1Q(vlan=8))),
    Oddity("VLAN tag in a provider's tag", NEVER, TAG, _tagged(Dot1AD(vlan=7), Dot1Q(vlan=8))),
    Oddity("MPLS", NEVER, TAG, _mpls),
    Oddity("LLDP", NEVER, V4, _typed(0x88CC, LLDP_BRIDGES)),
    Oddity("LLDP to one host", NEVER, V4, _typed(0x88CC)),
    Oddity("spanning tree", NEVER, V4, _spanning_tree),
    Oddity("ethertype 0x88b5", NEVER, V4, _typed(0x88B5)),
    Oddity("IPv4 that says it is IPv6", NEVER, V4, _ipv4_by_another_type),
    Oddity("IPv6: TCP", NEVER, V4, _ipv6(segment)),
    Oddity("IPv6: neighbour solicitation", NEVER, V4, _ipv6(lambda aim: ICMPv6ND_NS() / Raw(aim.token))),
    Oddity("IPv6: neighbour advertisement", NEVER, V4, _ipv6(lambda aim: ICMPv6ND_NA() / Raw(aim.token))),
    Oddity("IPv6: router advertisement", NEVER, V4, _ipv6(_advertised, everybody=True)),
)
