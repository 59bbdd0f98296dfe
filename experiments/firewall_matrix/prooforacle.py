"""Oracle 2: the exact set of packets that get through, as proved over the flows dumped from the switches."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from controllers.flow import Flow
from controllers.ovs.dump import mac_number
from controllers.verify import explain
from controllers.verify.packetset import Box, Node, Ranges
from controllers.verify.proof import Proof, Reach
from experiments.firewall_matrix.answers import (
    BEGINS,
    COUNTS,
    KINDS,
    Answer,
    Intervals,
    covered,
    union,
    within,
    without,
)
from experiments.firewall_matrix.sweepframes import SOURCE_PORT
from topo.plan import Host, Plan

FIELDS = {"tcp": "tp_dst", "udp": "tp_dst", "icmp": "tp_src", "ip": "nw_proto"}
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}


def proved(proof: Proof, reach: Reach, src: Host, dst: Host) -> Answer:
    """What gets through of what an honest host sends: first packets, and those that no tracker makes sense of."""
    return {
        kind: union(
            (
                *within(_values(proof, reach, "first", src, dst, kind), BEGINS[kind]),
                *without(_values(proof, reach, "invalid", src, dst, kind), BEGINS[kind]),
            )
        )
        for kind in KINDS
    }


def _values(proof: Proof, reach: Reach, state: str, src: Host, dst: Host, kind: str) -> Intervals:
    space = proof.space
    arrived: Node = reach.arrived[state].get((src.name, dst.name), space.nothing)
    sent = space.within(space.box(_honest(src, dst, kind)), arrived)
    everything = ((0, COUNTS[kind] - 1),)
    return union(span for box, _ in space.boxes(sent) for span in box.get(FIELDS[kind], everything))


def _honest(src: Host, dst: Host, kind: str) -> Box:
    """The packets of a sweep, as a set."""
    fields = {
        "eth_type": 0x0800,
        "vlan_tci": 0,
        "eth_src": mac_number(src.mac),
        "eth_dst": mac_number(dst.mac),
        "nw_src": int(ipaddress.ip_address(src.ip)),
        "nw_dst": int(ipaddress.ip_address(dst.ip)),
        "nw_frag": 0,
    }
    if kind in NUMBERS:
        fields["nw_proto"] = NUMBERS[kind]
    if kind == "icmp":
        fields["tp_dst"] = 0  # its code
    elif kind in NUMBERS:
        fields["tp_src"] = SOURCE_PORT
    ranges: dict[str, Ranges] = {name: ((value, value),) for name, value in fields.items()}
    return ranges


def flow(plan: Plan, flows: Sequence[Flow], reach: Reach, src: Host, dst: Host, kind: str, value: int) -> str:
    """Which flow decides about one probe, in words: of those dumped from the switches."""
    point = explain.witness({**_honest(src, dst, kind), FIELDS[kind]: ((value, value),)})
    state = "first" if covered(BEGINS[kind], value) else "invalid"
    steps = explain.deciding(explain.trace(plan, flows, src.name, point, state, reach.memory))
    return "; ".join(step.text() for step in steps)
