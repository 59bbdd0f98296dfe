"""IPv4 packets that no host would write: fragments, headers that lie, and ICMP errors.

The ports stand in the first fragment only, so a filter that looks at single ones can be led past. And one that puts
them together can be led past too: Open vSwitch's own tracker lets the pieces of one conversation out with whatever
packet of another's comes next. So the switches take none. ICMP errors quote a packet, and a tracker that believes the
quotation lets them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from scapy.layers.inet import ICMP, IP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, IPOption_Timestamp
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.malformed import (
    AS_POLICY,
    CLIENT,
    NEVER,
    SERVER,
    STRANGER_TO_CLIENT,
    STRANGER_TO_SERVER,
    Craft,
    CraftedFrame,
    CraftedPacket,
    ProbeTarget,
)
from experiments.firewall_matrix.malformed_link import datagram, ip, link, one, segment
from topo.plan import Host

# --- fragments ---------------------------------------------------------------------------------------------------

WHOLE, MTU_PART, TCP_HEADER = 2400, 1480, 20
UNIT = 8  # offsets count in these


def _split(target: ProbeTarget, places: Iterable[tuple[int, int]], whole: bytes) -> tuple[CraftedFrame, ...]:
    """Pieces of a datagram, each from one place to another, in the order in which they are sent."""
    return tuple(_piece(target, whole, begin, end) for begin, end in places)


def _piece(target: ProbeTarget, whole: bytes, begin: int, end: int) -> CraftedFrame:
    more = "MF" if end < len(whole) else 0
    head = ip(target, proto=6, flags=more, frag=begin // UNIT)
    sign = whole[:UNIT] if end <= TCP_HEADER else target.token
    return CraftedFrame(bytes(link(target) / head / Raw(whole[begin:end])), sign)


def _whole(target: ProbeTarget, port: int | None = None) -> bytes:
    """A SYN with data, which is all the token again and again: what goes into the fragments."""
    packet = (
        ip(target) / segment(target, dport=target.port if port is None else port) / Raw(target.token * (WHOLE // UNIT))
    )
    return bytes(IP(bytes(packet)).payload)


def _two(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    whole = _whole(target)
    return _split(target, ((0, MTU_PART), (MTU_PART, len(whole))), whole)


def _backwards(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _two(target)[::-1]


def _tiny(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    whole = _whole(target)
    return _split(target, ((0, UNIT), (UNIT, MTU_PART), (MTU_PART, len(whole))), whole)


def _overlapping(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    whole = _whole(target)
    return _split(target, ((0, MTU_PART), (MTU_PART - 2 * UNIT, len(whole))), whole)


def _rewriting(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    """The first fragment a second time, with another port; only that one is looked for."""
    first, last = _two(target)
    other = _whole(target, port=target.port % 65535 + 1)
    changed = _piece(target, other, 0, MTU_PART)
    return (CraftedFrame(first.frame, None), CraftedFrame(changed.frame, other[:UNIT]), CraftedFrame(last.frame, None))


def _no_first(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _two(target)[1:]


HIDDEN = "what its pieces hide no switch can know, so none takes them"

FRAGMENTS = (
    CraftedPacket("two fragments", NEVER, HIDDEN, _two),
    CraftedPacket("two fragments, the last first", NEVER, HIDDEN, _backwards),
    CraftedPacket("a tiny first fragment, that splits the TCP header", NEVER, HIDDEN, _tiny),
    CraftedPacket("overlapping fragments", NEVER, HIDDEN, _overlapping),
    CraftedPacket("a first fragment that rewrites the port of the one before", NEVER, HIDDEN, _rewriting),
    CraftedPacket("no first fragment", NEVER, HIDDEN, _no_first),
)


# --- headers: options, lies, wrong sums, and sizes ---------------------------------------------------------------

MTU, JUMBO, HEADER_BYTES = 1500, 9000, 40
ROOM = ["0.0.0.0"] * 3


def _option(make: Callable[[ProbeTarget], Any]) -> Craft:
    """The segment is made without it: Scapy sums up a source-routed one for where the route ends."""

    def craft(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
        inner = bytes(IP(bytes(ip(target) / segment(target))).payload)
        return one(target, link(target) / ip(target, proto=6, options=[make(target)]) / Raw(inner))

    return craft


def _sized(size: int) -> Craft:
    return lambda target: one(target, link(target) / ip(target) / segment(target) / Raw(bytes(size - HEADER_BYTES)))


def _ip_with(**fields: Any) -> Craft:
    return lambda target: one(target, link(target) / ip(target, **fields) / segment(target))


def _wrong_tcp_sum(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _wrong_sum(target, bytes(link(target) / ip(target) / segment(target)), at=50)


def _wrong_udp_sum(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _wrong_sum(target, bytes(link(target) / ip(target) / datagram(target)), at=40)


def _wrong_ip_sum(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _wrong_sum(target, bytes(link(target) / ip(target) / segment(target)), at=24)


def _wrong_sum(target: ProbeTarget, frame: bytes, at: int) -> tuple[CraftedFrame, ...]:
    """One bit of the right checksum turned. Never to 0, which would mean none for UDP."""
    wrong = frame[at] ^ (1 if frame[at : at + 2] != b"\x01\x00" else 2)
    return (CraftedFrame(frame[:at] + bytes([wrong]) + frame[at + 1 :], target.token),)


LOOK = "options are no conversation's business, and no reason to let more through"
ROUTE = "no router here follows a sender's route: it goes to its destination, or nowhere"
SIZE = "size is no reason to let more through"
SUM = "the receiver throws it away, if it gets there at all"

HEADERS = (
    CraftedPacket("option: record route", AS_POLICY, LOOK, _option(lambda _: IPOption_RR(routers=ROOM))),
    CraftedPacket("option: timestamp", AS_POLICY, LOOK, _option(lambda _: IPOption_Timestamp())),
    CraftedPacket(
        "loose source route", AS_POLICY, ROUTE, _option(lambda target: IPOption_LSRR(routers=[target.other.ip]))
    ),
    CraftedPacket(
        "strict source route", AS_POLICY, ROUTE, _option(lambda target: IPOption_SSRR(routers=[target.other.ip]))
    ),
    CraftedPacket("a byte larger than the links take", AS_POLICY, SIZE, _sized(MTU + 1)),
    CraftedPacket("jumbo", AS_POLICY, SIZE, _sized(JUMBO)),
    CraftedPacket("TTL 0", AS_POLICY, "no router on the way looks at it", _ip_with(ttl=0)),
    CraftedPacket("TTL 1", AS_POLICY, "no router on the way looks at it", _ip_with(ttl=1)),
    CraftedPacket("wrong checksum of IP", AS_POLICY, SUM, _wrong_ip_sum),
    CraftedPacket("wrong checksum of TCP", AS_POLICY, SUM, _wrong_tcp_sum),
    CraftedPacket("wrong checksum of UDP", AS_POLICY, SUM, _wrong_udp_sum, proto="udp"),
)


# --- ICMP errors -------------------------------------------------------------------------------------------------

UNREACHABLE, PORT, FRAGMENTATION_NEEDED = 3, 3, 4
REDIRECT, HOST = 5, 1
QUOTED = 28  # bytes: an IP header and the first 8 behind it


def _error(target: ProbeTarget, quoted: Packet, kind: int = UNREACHABLE, code: int = PORT) -> tuple[CraftedFrame, ...]:
    """An error to the destination about ``quoted``; the token follows the quotation, as longer ones would."""
    return one(
        target, link(target) / ip(target) / ICMP(type=kind, code=code) / Raw(bytes(quoted)[:QUOTED] + target.token)
    )


def _quoted(target: ProbeTarget, src: Host, dst: Host, sport: int, dport: int) -> Packet:
    return IP(src=src.ip, dst=dst.ip) / segment(target, sport=sport, dport=dport, flags="PA")


def _unknown(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _error(target, _quoted(target, target.dst, target.src, target.sport, target.port))


def _redirect(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _error(target, _quoted(target, target.dst, target.src, target.sport, target.port), kind=REDIRECT, code=HOST)


def _known(target: ProbeTarget, shift: int = 0) -> Packet:
    """A packet that the error's receiver sent in the known connection; with ``shift``, from a port that has none."""
    known = target.known
    assert known is not None
    if target.dst == known.client:
        return _quoted(target, known.client, known.server, known.sport - shift, known.port)
    return _quoted(target, known.server, known.client, known.port, known.sport - shift)


def _about_known(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _error(target, _known(target))


def _too_big(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _error(target, _known(target), code=FRAGMENTATION_NEEDED)


def _lying(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return _error(target, _known(target, shift=1))


NOTHING = "it is about no conversation that there is"
RELATED = "errors about a known conversation may return: without them no sender learns of a narrow link"
ROUTER = "a router on the way would send it, so the policy has it pass; Open vSwitch's own tracker is stricter"

ERRORS = (
    CraftedPacket("ICMP error about nothing", NEVER, NOTHING, _unknown),
    CraftedPacket("ICMP redirect about nothing", NEVER, NOTHING, _redirect),
    CraftedPacket("ICMP error about their connection, from the server", AS_POLICY, RELATED, _about_known, SERVER),
    CraftedPacket("ICMP error about their connection, from the client", AS_POLICY, RELATED, _about_known, CLIENT),
    CraftedPacket("ICMP error that lies about the connection, from the server", NEVER, NOTHING, _lying, SERVER),
    CraftedPacket("ICMP error that lies about the connection, from the client", NEVER, NOTHING, _lying, CLIENT),
    CraftedPacket("ICMP error from a stranger, to the client", AS_POLICY, ROUTER, _too_big, STRANGER_TO_CLIENT),
    CraftedPacket("ICMP error from a stranger, to the server", AS_POLICY, ROUTER, _too_big, STRANGER_TO_SERVER),
)
