"""Packets as any host sends them: where these are not seen, nobody looked."""

from __future__ import annotations

from experiments.firewall_matrix.crafting import ip, link, one, segment
from experiments.firewall_matrix.malformedkinds.addresses import BROADCAST, arp
from experiments.firewall_matrix.oddity import ANY_PORT, MUST, Aim, Oddity, Piece


def _request(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim, dst=BROADCAST) / arp(aim))


def _syn(aim: Aim) -> tuple[Piece, ...]:
    return one(aim, link(aim) / ip(aim) / segment(aim))


HEARD = "what is not seen proves nothing where this is not seen either"

HONEST = (
    Oddity("honest SYN", MUST, HEARD, _syn),
    Oddity("honest ARP request", MUST, HEARD, _request, ANY_PORT),
)
