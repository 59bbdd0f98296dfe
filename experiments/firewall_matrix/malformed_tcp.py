"""TCP segments that begin nothing, and segments slipped into a connection of other hosts."""

from __future__ import annotations

from typing import Any

from scapy.packet import Raw

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
from experiments.firewall_matrix.malformed_link import ip, link, one, segment

FAR = 1 << 31  # the opposite end of the sequence numbers' circle: outside every window


def _flagged(flags: str) -> Craft:
    return lambda target: one(target, link(target) / ip(target) / segment(target, flags=flags))


def _from_port_0(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
    return one(target, link(target) / ip(target) / segment(target, sport=0))


def _injected(flags: str, shift: int = 0) -> Craft:
    """A segment of the known connection to one of its ends, from the other: or from a host that claims to be it."""

    def craft(target: ProbeTarget) -> tuple[CraftedFrame, ...]:
        numbers = _numbers(target, shift)
        sender = target.other
        outer = link(target, src=sender.mac) / ip(target, src=sender.ip)
        return one(target, outer / segment(target, flags=flags, **numbers) / Raw(target.token))

    return craft


def _numbers(target: ProbeTarget, shift: int) -> dict[str, Any]:
    known = target.known
    assert known is not None
    seq, ack, sport, dport = known.seq, known.ack, known.sport, known.port
    if target.dst == known.client:
        seq, ack, sport, dport = ack, seq, dport, sport
    return {"sport": sport, "dport": dport, "seq": (seq + shift) % (1 << 32), "ack": ack}


SCAN = "a scan with it must not find more than the policy shows"
FALSE_NAME = "a host sends under its own name only, whatever it knows of others' connections"
OWN = "an end of a connection may ruin it; it matters to no other host"

SEGMENTS = (
    CraftedPacket("ACK without a connection", AS_POLICY, SCAN, _flagged("A")),
    CraftedPacket("FIN without a connection", AS_POLICY, SCAN, _flagged("F")),
    CraftedPacket("FIN+ACK without a connection", AS_POLICY, SCAN, _flagged("FA")),
    CraftedPacket("NULL: no flags", AS_POLICY, SCAN, _flagged("")),
    CraftedPacket("XMAS: FIN+PSH+URG", AS_POLICY, SCAN, _flagged("FPU")),
    CraftedPacket("SYN+FIN", AS_POLICY, SCAN, _flagged("SF")),
    CraftedPacket("SYN+RST", AS_POLICY, SCAN, _flagged("SR")),
    CraftedPacket("RST without a connection", AS_POLICY, SCAN, _flagged("R")),
    CraftedPacket("SYN+ACK without a connection", AS_POLICY, SCAN, _flagged("SA")),
    CraftedPacket("SYN from port 0", AS_POLICY, "no program may send from there", _from_port_0),
    CraftedPacket("data injected, to the server", NEVER, FALSE_NAME, _injected("PA"), STRANGER_TO_SERVER),
    CraftedPacket("data injected, to the client", NEVER, FALSE_NAME, _injected("PA"), STRANGER_TO_CLIENT),
    CraftedPacket(
        "data injected with wrong numbers, to the server", NEVER, FALSE_NAME, _injected("PA", FAR), STRANGER_TO_SERVER
    ),
    CraftedPacket(
        "data injected with wrong numbers, to the client", NEVER, FALSE_NAME, _injected("PA", FAR), STRANGER_TO_CLIENT
    ),
    CraftedPacket("RST injected, to the server", NEVER, FALSE_NAME, _injected("R"), STRANGER_TO_SERVER),
    CraftedPacket("RST injected, to the client", NEVER, FALSE_NAME, _injected("R"), STRANGER_TO_CLIENT),
    CraftedPacket("wrong numbers from the client itself", AS_POLICY, OWN, _injected("PA", FAR), CLIENT),
    CraftedPacket("wrong numbers from the server itself", AS_POLICY, OWN, _injected("PA", FAR), SERVER),
)
