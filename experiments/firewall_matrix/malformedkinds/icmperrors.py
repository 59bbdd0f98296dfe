"""ICMP errors: they quote a packet, and a tracker that believes the quotation lets them in."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.crafting import ip, link, one, segment
from experiments.firewall_matrix.oddity import (
    AS_POLICY,
    CLIENT,
    NEVER,
    SERVER,
    STRANGER_TO_CLIENT,
    STRANGER_TO_SERVER,
    Aim,
    Oddity,
    Piece,
)
from topo.plan import Host

UNREACHABLE, PORT, FRAGMENTATION_NEEDED = 3, 3, 4
REDIRECT, HOST = 5, 1
QUOTED = 28  # bytes: an IP header and the first 8 behind it


def _error(aim: Aim, quoted: Packet, kind: int = UNREACHABLE, code: int = PORT) -> tuple[Piece, ...]:
    """An error to the destination about ``quoted``; the token follows the quotation, as longer ones would."""
    return one(aim, link(aim) / ip(aim) / ICMP(type=kind, code=code) / Raw(bytes(quoted)[:QUOTED] + aim.token))


def _quoted(aim: Aim, src: Host, dst: Host, sport: int, dport: int) -> Packet:
    return IP(src=src.ip, dst=dst.ip) / segment(aim, sport=sport, dport=dport, flags="PA")


def _unknown(aim: Aim) -> tuple[Piece, ...]:
    return _error(aim, _quoted(aim, aim.dst, aim.src, aim.sport, aim.port))


def _redirect(aim: Aim) -> tuple[Piece, ...]:
    return _error(aim, _quoted(aim, aim.dst, aim.src, aim.sport, aim.port), kind=REDIRECT, code=HOST)


def _known(aim: Aim, shift: int = 0) -> Packet:
    """What the receiver of the error has sent in the known connection; with ``shift``, from a port that has none."""
    known = aim.known
    assert known is not None
    if aim.dst == known.client:
        return _quoted(aim, known.client, known.server, known.sport - shift, known.port)
    return _quoted(aim, known.server, known.client, known.port, known.sport - shift)


def _about_known(aim: Aim) -> tuple[Piece, ...]:
    return _error(aim, _known(aim))


def _too_big(aim: Aim) -> tuple[Piece, ...]:
    return _error(aim, _known(aim), code=FRAGMENTATION_NEEDED)


def _lying(aim: Aim) -> tuple[Piece, ...]:
    return _error(aim, _known(aim, shift=1))


NOTHING = "it is about no conversation that anybody has"
RELATED = "errors about a known conversation may return: without them nobody learns of a narrow link"
ROUTER = "a router on the way would send it, so the policy has it pass; Open vSwitch's own tracker is stricter"

ODDITIES = (
    Oddity("ICMP error about nothing", NEVER, NOTHING, _unknown),
    Oddity("ICMP redirect about nothing", NEVER, NOTHING, _redirect),
    Oddity("ICMP error about their connection, from the server", AS_POLICY, RELATED, _about_known, SERVER),
    Oddity("ICMP error about their connection, from the client", AS_POLICY, RELATED, _about_known, CLIENT),
    Oddity("ICMP error that lies about the connection, from the server", NEVER, NOTHING, _lying, SERVER),
    Oddity("ICMP error that lies about the connection, from the client", NEVER, NOTHING, _lying, CLIENT),
    Oddity("ICMP error from a stranger, to the client", AS_POLICY, ROUTER, _too_big, STRANGER_TO_CLIENT),
    Oddity("ICMP error from a stranger, to the server", AS_POLICY, ROUTER, _too_big, STRANGER_TO_SERVER),
)
