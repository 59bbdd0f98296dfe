"""The measurement of ``firewall_matrix``: all oracles are asked about the pairs and ports of a run.

``--pairs`` and ``--ports`` name some of them; the evidence has a row for each pair, with the word of each oracle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

from controllers import northbound, sampling
from controllers.flow import Flow
from controllers.policy import Rule, policy
from controllers.verify import explain
from controllers.verify.proof import Proof, Reach
from experiments.firewall_matrix import answers, ofproto, oracles, tries
from experiments.firewall_matrix.answers import BEGINS, COUNTS, EVERYTHING, KINDS, union, within
from experiments.firewall_matrix.evidence import ALL, Answer, MatrixEvidence, PairRow, TraceRow
from experiments.firewall_matrix.sweep import Sweep, Swept, detect_begins, sweep
from services.controller import northbound_socket
from topo.errors import FoobarError, UsageError, among
from topo.paths import BOX
from topo.plan import Host, Plan

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

Samples: TypeAlias = Mapping[str, Any]
MOST_FLOWS = 300  # mismatches that are traced to a flow


def measure(testbed: Testbed, run: Run) -> MatrixEvidence:
    """The policy that is compared with is the design's: with ``--firewall off`` still the rules of ``on``."""
    plan = testbed.plan
    rules = policy(replace(plan, profile=replace(testbed.profile, firewall="on")))
    pairs, values = pairs_named(run.options["pairs"], plan), values_named(run.options["ports"])
    before = testbed.rollout.dumped()
    begins = detect_begins(testbed, run, *pairs[0])
    wanted = [*(Sweep(*pair, values) for pair in pairs), *controls(plan, rules, pairs, values, begins)]
    began = time.monotonic()
    with watched(testbed) as controller:
        swept = sweep(testbed, run, wanted)
    seconds = time.monotonic() - began
    run.keep("swept", [account.as_dict() for account in swept])
    with run.phase("proof and trace", len(pairs)) as progress:
        flows = testbed.rollout.dumped()

        def trace(row: PairRow) -> list[TraceRow]:
            progress.advance(1)
            return ofproto.asked(plan, testbed.rules, run.random, row)

        compared = rows(plan, rules, flows, swept[: len(pairs)], trace, begins)
    return MatrixEvidence(
        hosts={host.name: host.ip for host in plan.hosts},
        **compared,
        malformed=tries.send(testbed, run, rules),
        controls=[control(plan, rules, account, begins) for account in swept[len(pairs) :]],
        controller=controller,
        changed=set(flows) != set(before),
        seconds={"sweep": round(seconds, 3)},
    )


# --- the pairs and ports of a run ----------------------------------------------------------------------------------


def pairs_named(text: str, plan: Plan) -> list[tuple[Host, Host]]:
    """``attacker:srv1,mon:any`` as pairs of hosts, each once. Raises UsageError, saying what would do."""
    words = ["any:any"] if text == ALL else text.split(",")
    named = [pair for word in words for pair in _pairs(word, plan)]
    if not named:
        raise UsageError(f"--pairs {text}: no two hosts")
    return list(dict.fromkeys(named))


def _pairs(word: str, plan: Plan) -> list[tuple[Host, Host]]:
    sides = word.split(":")
    if len(sides) != 2:
        raise UsageError(f"--pairs {word}: must be FROM:TO, like attacker:srv1")
    for side in sides:
        if side not in plan.names:
            raise UsageError(f"--pairs {word}: {side} is no host, zone or group; known: {among(side, plan.names)}")
    return [(src, dst) for src, dst in product(*(plan.names[side] for side in sides)) if src != dst]


def values_named(text: str) -> Answer:
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


def controls(
    plan: Plan,
    rules: Sequence[Rule],
    pairs: Sequence[tuple[Host, Host]],
    values: Answer,
    begins: Answer = BEGINS,
) -> list[Sweep]:
    """One allowed packet of each source that sends none anyway."""
    wanted = []
    for src in dict.fromkeys(src for src, _ in pairs):
        own = [oracles.decided(rules, plan, *pair, begins) for pair in pairs if pair[0] == src]
        sent = any(within(may[kind], values.get(kind, ())) for may in own for kind in KINDS)
        if not sent and (allowed := oracles.one_allowed(rules, plan, src, begins)):
            wanted.append(Sweep(src, *allowed))
    return wanted


# --- rows of the evidence ------------------------------------------------------------------------------------------


def rows(
    plan: Plan,
    rules: Sequence[Rule],
    flows: Sequence[Flow],
    swept: Sequence[Swept],
    traced: Callable[[PairRow], list[TraceRow]],
    begins: Answer = BEGINS,
) -> dict[str, Any]:
    """The pairs' rows, the differences that the proof finds, and the flows that decide where the oracles differ.

    ``traced`` asks Open vSwitch itself about a pair's row. ``begins``: what its tracker does not call invalid.
    """
    began = time.monotonic()
    proof = Proof(plan)
    checked = proof.check(flows, rules)
    seconds = time.monotonic() - began
    pairs = [_pair(plan, rules, proof, checked.reach, account, begins) for account in swept]
    for pair in pairs:
        pair["trace"] = traced(pair)
    return {
        "pairs": pairs,
        "proof": {
            "differences": explain.differences(plan, flows, rules, checked),
            "flows": len(flows),
            "ms": round(seconds * 1000, 1),
        },
        "flows": list(_deciding_flows(plan, flows, checked.reach, pairs)),
    }


def control(plan: Plan, rules: Sequence[Rule], swept: Swept, begins: Answer = BEGINS) -> Any:
    """A pair's ControlRow: only an allowed packet was sent between them."""
    src, dst = plan.host(swept.src), plan.host(swept.dst)
    return {
        "src": swept.src,
        "dst": swept.dst,
        "policy": [asdict(ruling) for ruling in oracles.rulings(rules, plan, src, dst, begins)],
        "wire": swept.as_dict(),
    }


def _pair(plan: Plan, rules: Sequence[Rule], proof: Proof, reach: Reach, swept: Swept, begins: Answer) -> Any:
    src, dst = plan.host(swept.src), plan.host(swept.dst)
    return {
        **control(plan, rules, swept, begins),
        "proof": oracles.proved(proof, reach, src, dst, begins),
        "stops": oracles.stops(rules, plan, src, dst, swept.values, begins),
    }


def _deciding_flows(
    plan: Plan, flows: Sequence[Flow], reach: Reach, pairs: Sequence[PairRow]
) -> Iterator[dict[str, Any]]:
    """The flow that decides about the first packet of each group about which the oracles differ."""
    groups = answers.together(mismatch for pair in pairs for mismatch in answers.mismatches(pair))
    for mismatch, _ in groups[:MOST_FLOWS]:
        yield {
            "src": mismatch.src,
            "dst": mismatch.dst,
            "kind": mismatch.kind,
            "value": mismatch.values[0][0],
            "flow": oracles.deciding_flow(plan, flows, reach, mismatch),
        }


# --- the cost of denied packets for the controller -----------------------------------------------------------------


@contextmanager
def watched(testbed: Testbed) -> Iterator[Any]:
    """A ControllerRow, filled when the block is left.

    Samples are counted by the controller itself, every packet that any switch sent it; so nothing else may send it one
    either.
    """
    evidence: dict[str, Any] = {}
    before, began = _samples(testbed), time.monotonic()
    yield evidence
    after, seconds = _samples(testbed), time.monotonic() - began
    most = sampling.most(sampling.unsampled(testbed.flows, testbed.unsampled), seconds)
    evidence |= {"seconds": round(seconds, 3), "most": round(most, 1), **between(before, after)}


def between(before: Samples | None, after: Samples | None) -> dict[str, Any]:
    """The samples of that time; not known when the process has been replaced meanwhile, whose numbers began at 0."""
    if before is None or after is None or after["pid"] != before["pid"]:
        return {"cpu_s": None, "packet_ins": None}
    return {
        "cpu_s": round(after["cpu_s"] - before["cpu_s"], 3),
        "packet_ins": {
            name: number - before["packet_ins"].get(name, 0) for name, number in after["packet_ins"].items()
        },
    }


def _samples(testbed: Testbed) -> Samples | None:
    try:
        samples: Samples = northbound.ask("samples", socket=testbed.inside(BOX).path(northbound_socket(testbed.plan)))
    except FoobarError:
        return None
    return samples
