"""The layers of malformed packets, as a host would send them well-formed; each malformed packet changes one thing."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.malformed import CraftedFrame, ProbeTarget


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
