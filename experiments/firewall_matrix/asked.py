"""Which pairs and ports a run is to look at: all of them, or what ``--pairs`` and ``--ports`` name."""

from __future__ import annotations

from itertools import product

from experiments.firewall_matrix.answers import COUNTS, EVERYTHING, Answer, union
from topo.errors import UsageError, among
from topo.plan import Host, Plan

ALL = "all"


def pairs(text: str, plan: Plan) -> list[tuple[Host, Host]]:
    """``attacker:srv1,mon:any`` as pairs of hosts, each once. Raises UsageError, saying what would do."""
    words = ["any:any"] if text == ALL else text.split(",")
    found = [pair for word in words for pair in _pairs(word, plan)]
    if not found:
        raise UsageError(f"--pairs {text}: no two hosts")
    return list(dict.fromkeys(found))


def _pairs(word: str, plan: Plan) -> list[tuple[Host, Host]]:
    sides = word.split(":")
    if len(sides) != 2:
        raise UsageError(f"--pairs {word}: must be FROM:TO, like attacker:srv1")
    for side in sides:
        if side not in plan.names:
            raise UsageError(f"--pairs {word}: {side} is no host, zone or group; known: {among(side, plan.names)}")
    return [(src, dst) for src, dst in product(*(plan.names[side] for side in sides)) if src != dst]


def values(text: str) -> Answer:
    """``22,80,3000-3100``: of TCP and UDP these ports; of ICMP and IP everything. Raises UsageError."""
    if text == ALL:
        return EVERYTHING
    ports = union(_range(word) for word in text.split(","))
    return {**EVERYTHING, "tcp": ports, "udp": ports}


def _range(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        low, high = 1, 0
    if not 0 <= low <= high < COUNTS["tcp"]:
        raise UsageError(f"--ports {word}: must be ports or ranges of ports, like 22,80,3000-3100")
    return low, high
