"""From what was measured to evidence: a row for each pair of hosts, with what each oracle says of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from controllers.flow import Flow
from controllers.policy import Rule
from controllers.verify import explain
from controllers.verify.proof import Proof, Reach
from experiments.firewall_matrix import oracles, policyoracle, prooforacle
from experiments.firewall_matrix.answers import KINDS, Answer, within
from experiments.firewall_matrix.prober import Sweep, Swept
from topo.plan import Host, Plan

Traced = Callable[[dict[str, Any]], list[dict[str, Any]]]
MOST_FLOWS = 300  # mismatches that are traced to a flow


def controls(plan: Plan, rules: Sequence[Rule], pairs: Sequence[tuple[Host, Host]], values: Answer) -> list[Sweep]:
    """One allowed packet of each source that sends none anyway."""
    wanted = []
    for src in dict.fromkeys(src for src, _ in pairs):
        own = [policyoracle.decided(rules, plan, *pair) for pair in pairs if pair[0] == src]
        sent = any(within(may[kind], values.get(kind, ())) for may in own for kind in KINDS)
        if not sent and (found := policyoracle.one_allowed(rules, plan, src)):
            wanted.append(Sweep(src, *found))
    return wanted


def told(
    plan: Plan, rules: Sequence[Rule], flows: Sequence[Flow], swept: Sequence[Swept], traced: Traced
) -> dict[str, Any]:
    """The pairs' rows, what the proof says beside them, and the flows that decide where the oracles differ.

    ``traced`` is asked what Open vSwitch itself says about a pair's row.
    """
    began = time.monotonic()
    proving = Proof(plan)
    checked = proving.check(flows, rules)
    seconds = time.monotonic() - began
    pairs = [_pair(plan, rules, proving, checked.reach, each) for each in swept]
    for each in pairs:
        each["trace"] = traced(each)
    return {
        "pairs": pairs,
        "proof": {
            "differences": explain.differences(plan, flows, rules, checked),
            "flows": len(flows),
            "ms": round(seconds * 1000, 1),
        },
        "flows": list(_flows(plan, flows, checked.reach, pairs)),
    }


def control(plan: Plan, rules: Sequence[Rule], swept: Swept) -> dict[str, Any]:
    """A pair's row of which nothing but an allowed packet was looked at."""
    src, dst = plan.host(swept.src), plan.host(swept.dst)
    return {
        "src": swept.src,
        "dst": swept.dst,
        "policy": [asdict(each) for each in policyoracle.rulings(rules, plan, src, dst)],
        "wire": swept.as_dict(),
    }


def _pair(plan: Plan, rules: Sequence[Rule], proving: Proof, reach: Reach, swept: Swept) -> dict[str, Any]:
    src, dst = plan.host(swept.src), plan.host(swept.dst)
    return {
        **control(plan, rules, swept),
        "proof": prooforacle.proved(proving, reach, src, dst),
        "stops": policyoracle.stops(rules, plan, src, dst, swept.values),
    }


def _flows(
    plan: Plan, flows: Sequence[Flow], reach: Reach, pairs: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Which flow decides about the first packet of each group about which the oracles differ."""
    found = oracles.together(each for pair in pairs for each in oracles.mismatches(pair))
    for each, _ in found[:MOST_FLOWS]:
        src, dst, value = plan.host(each.src), plan.host(each.dst), each.values[0][0]
        yield {
            "src": each.src,
            "dst": each.dst,
            "kind": each.kind,
            "value": value,
            "flow": prooforacle.flow(plan, flows, reach, src, dst, each.kind, value),
        }
