"""Under a false name, to everybody, or to nobody: addresses that an honest packet does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.crafting import datagram, ip, link, one, segment
from experiments.firewall_matrix.oddity import NEVER, PRETENDING, Aim, Oddity, Piece
from topo.plan import NETWORK

BROADCAST, ALL_SYSTEMS = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"
REQUEST, REPLY = 1, 2


def _as_other(*, mac: bool, address: bool) -> Callable[[Aim], tuple[Piece, ...]]:
    def craft(aim: Aim) -> tuple[Piece, ...]:
        frame = link(aim, src=aim.other.mac if mac else aim.src.mac)
        return one(aim, frame / ip(aim, src=aim.other.ip if address else aim.src.ip) / segment(aim))

    return craft


def _from(address: str) -> Callable[[Aim], tuple[Piece, ...]]:
    return lambda aim: one(aim, link(aim) / ip(aim, src=address) / segment(aim))


def _land(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim) / ip(aim, src=aim.dst.ip) / segment(aim, sport=aim.port))


def _to(mac: str, address: str | None = None) -> Callable[[Aim], tuple[Piece, ...]]:
    """A datagram to a MAC address and to an address: to the destination's own by default."""
    return lambda aim: one(aim, link(aim, dst=mac) / ip(aim, dst=address or aim.dst.ip) / datagram(aim))


def _crossed(aim: Aim) -> tuple[Piece, ...]:
    """To one host's address and another's MAC: is it the one who is asked about that gets it?"""
    return one(aim, link(aim, dst=aim.other.mac) / ip(aim) / segment(aim))


def arp(aim: Aim, **fields: Any) -> Packet:
    """An honest request, with the token in what fills the frame up."""
    honest = {"op": REQUEST, "hwsrc": aim.src.mac, "psrc": aim.src.ip, "pdst": aim.dst.ip}
    return ARP(**{**honest, **fields}) / Raw(aim.token + bytes(10))


def _gratuitous(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, dst=BROADCAST) / arp(aim, psrc=aim.other.ip, pdst=aim.other.ip))


def _arp_reply(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim) / arp(aim, op=REPLY, psrc=aim.other.ip, hwdst=aim.dst.mac))


def _arp_request(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, dst=BROADCAST) / arp(aim, psrc=aim.other.ip))


def _arp_foreign_mac(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim) / arp(aim, op=REPLY, hwsrc=aim.other.mac, hwdst=aim.dst.mac))


def _arp_in_disguise(aim: Aim) -> tuple[Piece, ...]:
    """In a frame from another MAC than the one it speaks of."""
    return one(aim, link(aim, src=aim.other.mac) / arp(aim))


def _reverse_arp(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, type=0x8035) / arp(aim, op=4, hwdst=aim.dst.mac))


NAME = "behind each port one MAC and one address are bound"
EVERYBODY = "each packet has one destination: there is no flooding"
POISON = "who answers for another's address gets what is meant for that one"

ODDITIES = (
    Oddity("another's address", NEVER, NAME, _as_other(mac=False, address=True), PRETENDING),
    Oddity("another's MAC", NEVER, NAME, _as_other(mac=True, address=False), PRETENDING),
    Oddity("another's address and MAC", NEVER, NAME, _as_other(mac=True, address=True), PRETENDING),
    Oddity("from 127.0.0.1", NEVER, NAME, _from("127.0.0.1")),
    Oddity("from 0.0.0.0", NEVER, NAME, _from("0.0.0.0")),
    Oddity("from 224.0.0.1", NEVER, NAME, _from("224.0.0.1")),
    Oddity("land: from the receiver's own address", NEVER, NAME, _land),
    Oddity("to 255.255.255.255", NEVER, EVERYBODY, _to(BROADCAST, "255.255.255.255")),
    Oddity("to the network's broadcast address", NEVER, EVERYBODY, _to(BROADCAST, str(NETWORK.broadcast_address))),
    Oddity("to 224.0.0.1", NEVER, EVERYBODY, _to(ALL_SYSTEMS, "224.0.0.1")),
    Oddity("to one address, and everybody's MAC", NEVER, EVERYBODY, _to(BROADCAST), proto="udp"),
    Oddity("to one's address, and another's MAC", NEVER, EVERYBODY, _crossed),
    Oddity("ARP, gratuitous, for another's address", NEVER, POISON, _gratuitous, PRETENDING),
    Oddity("ARP reply for another's address", NEVER, POISON, _arp_reply, PRETENDING),
    Oddity("ARP request as from another", NEVER, POISON, _arp_request, PRETENDING),
    Oddity("ARP reply with another's MAC", NEVER, POISON, _arp_foreign_mac, PRETENDING),
    Oddity("ARP in a frame from another's MAC", NEVER, POISON, _arp_in_disguise, PRETENDING),
    Oddity("reverse ARP", NEVER, POISON, _reverse_arp),
)
