"""IP, TCP and UDP headers that a host would not write: options, lies, wrong sums, and packets that are too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import IP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, IPOption_Timestamp
from scapy.packet import Raw

from experiments.firewall_matrix.crafting import datagram, ip, link, one, segment
from experiments.firewall_matrix.oddity import AS_POLICY, Aim, Oddity, Piece

MTU, JUMBO, HEADERS = 1500, 9000, 40
ROOM = ["0.0.0.0"] * 3


def _option(make: Callable[[Aim], Any]) -> Callable[[Aim], tuple[Piece, ...]]:
    """The segment is made without it: Scapy sums up a source-routed one for where the route ends."""

    def craft(aim: Aim) -> tuple[Piece, ...]:
        inner = bytes(IP(bytes(ip(aim) / segment(aim))).payload)
        return one(aim, link(aim) / ip(aim, proto=6, options=[make(aim)]) / Raw(inner))

    return craft


def _sized(size: int) -> Callable[[Aim], tuple[Piece, ...]]:
    return lambda aim: one(aim, link(aim) / ip(aim) / segment(aim) / Raw(bytes(size - HEADERS)))


def _ip_with(**fields: Any) -> Callable[[Aim], tuple[Piece, ...]]:
    return lambda aim: one(aim, link(aim) / ip(aim, **fields) / segment(aim))


def _wrong_tcp_sum(aim: Aim) -> tuple[Piece, ...]:
    return _wrong_sum(aim, bytes(link(aim) / ip(aim) / segment(aim)), at=50)


def _wrong_udp_sum(aim: Aim) -> tuple[Piece, ...]:
    return _wrong_sum(aim, bytes(link(aim) / ip(aim) / datagram(aim)), at=40)


def _wrong_ip_sum(aim: Aim) -> tuple[Piece, ...]:
    return _wrong_sum(aim, bytes(link(aim) / ip(aim) / segment(aim)), at=24)


def _wrong_sum(aim: Aim, frame: bytes, at: int) -> tuple[Piece, ...]:
    """One bit of the right checksum turned. Never to 0, which would mean none for UDP."""
    wrong = frame[at] ^ (1 if frame[at : at + 2] != b"\x01\x00" else 2)
    return (Piece(frame[:at] + bytes([wrong]) + frame[at + 1 :], aim.token),)


LOOK = "options are no conversation's business, and no reason to let more through"
ROUTE = "nobody follows a sender's route: it goes to its destination, or nowhere"
SIZE = "size is no reason to let more through"
SUM = "the receiver throws it away, if it gets there at all"

ODDITIES = (
    Oddity("option: record route", AS_POLICY, LOOK, _option(lambda _: IPOption_RR(routers=ROOM))),
    Oddity("option: timestamp", AS_POLICY, LOOK, _option(lambda _: IPOption_Timestamp())),
    Oddity("loose source route", AS_POLICY, ROUTE, _option(lambda aim: IPOption_LSRR(routers=[aim.other.ip]))),
    Oddity("strict source route", AS_POLICY, ROUTE, _option(lambda aim: IPOption_SSRR(routers=[aim.other.ip]))),
    Oddity("a byte larger than the links take", AS_POLICY, SIZE, _sized(MTU + 1)),
    Oddity("jumbo", AS_POLICY, SIZE, _sized(JUMBO)),
    Oddity("TTL 0", AS_POLICY, "no router on the way looks at it", _ip_with(ttl=0)),
    Oddity("TTL 1", AS_POLICY, "no router on the way looks at it", _ip_with(ttl=1)),
    Oddity("wrong checksum of IP", AS_POLICY, SUM, _wrong_ip_sum),
    Oddity("wrong checksum of TCP", AS_POLICY, SUM, _wrong_tcp_sum),
    Oddity("wrong checksum of UDP", AS_POLICY, SUM, _wrong_udp_sum, proto="udp"),
)
