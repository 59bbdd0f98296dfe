"""Fragments: the ports stand in the first one only, so a filter that looks at single ones can be led past.

And one that puts them together can be led past too: Open vSwitch's own tracker lets the pieces of one conversation out
with whatever packet of another's comes next. So the switches take none.
"""

from __future__ import annotations

from collections.abc import Iterable

from scapy.layers.inet import IP
from scapy.packet import Raw

from experiments.firewall_matrix.crafting import ip, link, segment
from experiments.firewall_matrix.oddity import NEVER, Aim, Oddity, Piece

WHOLE, MTU_PART, TCP_HEADER = 2400, 1480, 20
UNIT = 8  # offsets count in these


def _split(aim: Aim, places: Iterable[tuple[int, int]], whole: bytes) -> tuple[Piece, ...]:
    """Pieces of a datagram, each from one place to another, in the order in which they are sent."""
    return tuple(_piece(aim, whole, begin, end) for begin, end in places)


def _piece(aim: Aim, whole: bytes, begin: int, end: int) -> Piece:
    more = "MF" if end < len(whole) else 0
    head = ip(aim, proto=6, flags=more, frag=begin // UNIT)
    sign = whole[:UNIT] if end <= TCP_HEADER else aim.token
    return Piece(bytes(link(aim) / head / Raw(whole[begin:end])), sign)


def _whole(aim: Aim, port: int | None = None) -> bytes:
    """A SYN with data, which is all the token again and again: what goes into the fragments."""
    packet = ip(aim) / segment(aim, dport=aim.port if port is None else port) / Raw(aim.token * (WHOLE // UNIT))
    return bytes(IP(bytes(packet)).payload)


def _two(aim: Aim) -> tuple[Piece, ...]:
    whole = _whole(aim)
    return _split(aim, ((0, MTU_PART), (MTU_PART, len(whole))), whole)


def _backwards(aim: Aim) -> tuple[Piece, ...]:
    return _two(aim)[::-1]


def _tiny(aim: Aim) -> tuple[Piece, ...]:
    whole = _whole(aim)
    return _split(aim, ((0, UNIT), (UNIT, MTU_PART), (MTU_PART, len(whole))), whole)


def _overlapping(aim: Aim) -> tuple[Piece, ...]:
    whole = _whole(aim)
    return _split(aim, ((0, MTU_PART), (MTU_PART - 2 * UNIT, len(whole))), whole)


def _rewriting(aim: Aim) -> tuple[Piece, ...]:
    """The first fragment a second time, with another port; only that one is looked for."""
    first, last = _two(aim)
    other = _whole(aim, port=aim.port % 65535 + 1)
    changed = _piece(aim, other, 0, MTU_PART)
    return (Piece(first.frame, None), Piece(changed.frame, other[:UNIT]), Piece(last.frame, None))


def _no_first(aim: Aim) -> tuple[Piece, ...]:
    return _two(aim)[1:]


HIDDEN = "what its pieces hide no switch can know, so none takes them"

ODDITIES = (
    Oddity("two fragments", NEVER, HIDDEN, _two),
    Oddity("two fragments, the last first", NEVER, HIDDEN, _backwards),
    Oddity("a tiny first fragment, that splits the TCP header", NEVER, HIDDEN, _tiny),
    Oddity("overlapping fragments", NEVER, HIDDEN, _overlapping),
    Oddity("a first fragment that rewrites the port of the one before", NEVER, HIDDEN, _rewriting),
    Oddity("no first fragment", NEVER, HIDDEN, _no_first),
)
