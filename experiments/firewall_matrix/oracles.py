"""Oracles 1 and 2: the packets that the policy lets through, and those that are proved to get through the switches.

The policy is asked by ``decide`` for every value of every kind; the proof is over the flows dumped from the switches.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controllers.flow import Flow
from controllers.ovs.dump import mac_number
from controllers.policy import Rule, decide
from controllers.verify import explain
from controllers.verify.packetset import Box, Node, Ranges
from controllers.verify.proof import Proof, Reach
from experiments.firewall_matrix.answers import (
    BEGINS,
    COUNTS,
    EVERYTHING,
    KINDS,
    OracleMismatch,
    segments,
    size,
    union,
    within,
    without,
)
from experiments.firewall_matrix.evidence import INVALID, Answer, Intervals
from experiments.firewall_matrix.sweepframes import SOURCE_PORT
from topo.plan import Host, Plan

FIELDS = {"tcp": "tp_dst", "udp": "tp_dst", "icmp": "tp_src", "ip": "nw_proto"}
NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}


@dataclass(frozen=True)
class Ruling:
    """Values of one kind that one rule decides about; ``INVALID`` stands for what begins no conversation."""

    kind: str
    values: Intervals
    rule: str
    allowed: bool


def decided(rules: Sequence[Rule], plan: Plan, src: Host, dst: Host, begins: Answer = BEGINS) -> Answer:
    """The packets that the policy lets through from one host to another."""
    allowed = [ruling for ruling in rulings(rules, plan, src, dst, begins) if ruling.allowed]
    return {kind: union(span for ruling in allowed if ruling.kind == kind for span in ruling.values) for kind in KINDS}


def rulings(rules: Sequence[Rule], plan: Plan, src: Host, dst: Host, begins: Answer = BEGINS) -> tuple[Ruling, ...]:
    """The rule that decides about each value, each value once. ``begins``: what the tracker does not call invalid."""
    return tuple(ruling for kind in KINDS for ruling in _rulings(tuple(rules), plan, src, dst, kind, begins[kind]))


def _rulings(
    rules: tuple[Rule, ...], plan: Plan, src: Host, dst: Host, kind: str, begins: Intervals
) -> Iterator[Ruling]:
    """``decide`` is asked once for each segment of values that no rule tells apart."""
    named = [rule.ports or () for rule in rules if rule.proto == kind]
    by: dict[Rule, list[tuple[int, int]]] = {}
    for span in segments(kind, *named):
        by.setdefault(decide(rules, plan, src.name, dst.name, kind, span[0]), []).append(span)
    for rule, spans in by.items():
        if values := within(union(spans), begins):
            yield Ruling(kind, values, rule.name, rule.action == "allow")
    yield Ruling(kind, without(EVERYTHING[kind], begins), INVALID, allowed=False)


def one_allowed(rules: Sequence[Rule], plan: Plan, src: Host, begins: Answer = BEGINS) -> tuple[Host, Answer] | None:
    """A destination that a host may reach, and a value with which; None if it may reach none."""
    for dst in plan.hosts:
        for ruling in rulings(rules, plan, src, dst, begins) if dst != src else ():
            if ruling.allowed:
                value = ruling.values[0][0]
                return dst, {ruling.kind: ((value, value),)}
    return None


def stops(
    rules: Sequence[Rule], plan: Plan, src: Host, dst: Host, sent: Answer, begins: Answer = BEGINS
) -> dict[str, dict[str, int]]:
    """The packets of these that each flow is to count as dropped: switch -> name -> packets.

    Every switch that decides has the same rules, so the first one on the way stops all that is to be stopped.
    """
    counts: dict[str, int] = {}
    for ruling in rulings(rules, plan, src, dst, begins):
        here = within(ruling.values, sent.get(ruling.kind, ()))
        if here and not ruling.allowed:
            counts[ruling.rule] = counts.get(ruling.rule, 0) + size(here)
    return {plan.policed_by(src.name, dst.name)[0]: counts} if counts else {}


# --- the proof -----------------------------------------------------------------------------------------------------


def proved(proof: Proof, reach: Reach, src: Host, dst: Host, begins: Answer = BEGINS) -> Answer:
    """The well-formed packets that get through: first ones, and those that no tracker makes sense of."""
    return {
        kind: union(
            (
                *within(_values(proof, reach, "first", src, dst, kind), begins[kind]),
                *without(_values(proof, reach, "invalid", src, dst, kind), begins[kind]),
            )
        )
        for kind in KINDS
    }


def _values(proof: Proof, reach: Reach, state: str, src: Host, dst: Host, kind: str) -> Intervals:
    space = proof.space
    arrived: Node = reach.arrived[state].get((src.name, dst.name), space.nothing)
    sent = space.within(space.box(_sent(src, dst, kind)), arrived)
    return union(span for box, _ in space.boxes(sent) for span in box.get(FIELDS[kind], ((0, COUNTS[kind] - 1),)))


def _sent(src: Host, dst: Host, kind: str) -> Box:
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


def deciding_flow(plan: Plan, flows: Sequence[Flow], reach: Reach, mismatch: OracleMismatch) -> str:
    """The flow that decides about the first packet of a mismatch, in words: of those dumped from the switches."""
    src, dst, value = plan.host(mismatch.src), plan.host(mismatch.dst), mismatch.values[0][0]
    point = explain.witness({**_sent(src, dst, mismatch.kind), FIELDS[mismatch.kind]: ((value, value),)})
    state = "invalid" if mismatch.rule == INVALID else "first"
    steps = explain.deciding(explain.trace(plan, flows, mismatch.src, point, state, reach.memory))
    return "; ".join(step.text() for step in steps)
