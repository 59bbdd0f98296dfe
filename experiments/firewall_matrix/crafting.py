"""The layers that odd packets are made of, as an honest host would send them; each oddity changes one thing."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from experiments.firewall_matrix.oddity import Aim, Piece


def link(aim: Aim, **fields: Any) -> Packet:
    """Ethernet, from the sender's own MAC to the receiver's."""
    return Ether(**{"src": aim.src.mac, "dst": aim.dst.mac, **fields})


def ip(aim: Aim, **fields: Any) -> Packet:
    """IPv4, from the sender's own address to the receiver's."""
    return IP(**{"src": aim.src.ip, "dst": aim.dst.ip, "id": int.from_bytes(aim.token[:2], "big"), **fields})


def segment(aim: Aim, **fields: Any) -> Packet:
    """A SYN, with the token for its numbers: it needs no data to be recognised."""
    seq, ack = (int.from_bytes(half, "big") for half in (aim.token[:4], aim.token[4:]))
    return TCP(**{"sport": aim.sport, "dport": aim.port, "flags": "S", "seq": seq, "ack": ack, **fields})


def datagram(aim: Aim, **fields: Any) -> Packet:
    """UDP, with the token for its data."""
    return UDP(**{"sport": aim.sport, "dport": aim.port, **fields}) / Raw(aim.token)


def one(aim: Aim, packet: Packet) -> tuple[Piece, ...]:
    """A single frame with the token in it."""
    return (Piece(bytes(packet), aim.token),)
