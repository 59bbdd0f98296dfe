"""TCP segments that begin nothing, and segments slipped into a connection of somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.packet import Raw

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

FAR = 1 << 31  # the opposite end of the sequence numbers' circle: outside every window


def _flagged(flags: str) -> Callable[[Aim], tuple[Piece, ...]]:
    return lambda aim: one(aim, link(aim) / ip(aim) / segment(aim, flags=flags))


def _from_port_0(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim) / ip(aim) / segment(aim, sport=0))


def _injected(flags: str, shift: int = 0) -> Callable[[Aim], tuple[Piece, ...]]:
    """A segment of the known connection to one of its ends, from the other: or from who says that he is it."""

    def craft(aim: Aim) -> tuple[Piece, ...]:
        numbers = _numbers(aim, shift)
        sender = aim.other
        outer = link(aim, src=sender.mac) / ip(aim, src=sender.ip)
        return one(aim, outer / segment(aim, flags=flags, **numbers) / Raw(aim.token))

    return craft


def _numbers(aim: Aim, shift: int) -> dict[str, Any]:
    known = aim.known
    assert known is not None
    seq, ack, sport, dport = known.seq, known.ack, known.sport, known.port
    if aim.dst == known.client:
        seq, ack, sport, dport = ack, seq, dport, sport
    return {"sport": sport, "dport": dport, "seq": (seq + shift) % (1 << 32), "ack": ack}


SCAN = "a scan with it must not find more than the policy shows"
FALSE_NAME = "a host sends under its own name only, whatever it knows of others' connections"
OWN = "who has a connection may ruin it; to nobody else does it matter"

ODDITIES = (
    Oddity("ACK without a connection", AS_POLICY, SCAN, _flagged("A")),
    Oddity("FIN without a connection", AS_POLICY, SCAN, _flagged("F")),
    Oddity("FIN+ACK without a connection", AS_POLICY, SCAN, _flagged("FA")),
    Oddity("NULL: no flags", AS_POLICY, SCAN, _flagged("")),
    Oddity("XMAS: FIN+PSH+URG", AS_POLICY, SCAN, _flagged("FPU")),
    Oddity("SYN+FIN", AS_POLICY, SCAN, _flagged("SF")),
    Oddity("SYN+RST", AS_POLICY, SCAN, _flagged("SR")),
    Oddity("RST without a connection", AS_POLICY, SCAN, _flagged("R")),
    Oddity("SYN+ACK without a connection", AS_POLICY, SCAN, _flagged("SA")),
    Oddity("SYN from port 0", AS_POLICY, "no program may send from there", _from_port_0),
    Oddity("data injected, to the server", NEVER, FALSE_NAME, _injected("PA"), STRANGER_TO_SERVER),
    Oddity("data injected, to the client", NEVER, FALSE_NAME, _injected("PA"), STRANGER_TO_CLIENT),
    Oddity(
        "data injected with wrong numbers, to the server", NEVER, FALSE_NAME, _injected("PA", FAR), STRANGER_TO_SERVER
    ),
    Oddity(
        "data injected with wrong numbers, to the client", NEVER, FALSE_NAME, _injected("PA", FAR), STRANGER_TO_CLIENT
    ),
    Oddity("RST injected, to the server", NEVER, FALSE_NAME, _injected("R"), STRANGER_TO_SERVER),
    Oddity("RST injected, to the client", NEVER, FALSE_NAME, _injected("R"), STRANGER_TO_CLIENT),
    Oddity("wrong numbers from the client itself", AS_POLICY, OWN, _injected("PA", FAR), CLIENT),
    Oddity("wrong numbers from the server itself", AS_POLICY, OWN, _injected("PA", FAR), SERVER),
)
