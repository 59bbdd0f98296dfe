"""Slips of every kind: the proof catches each, or proves that nobody could tell; the Python switches agree."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import permutations
from random import Random

import pytest
from flowtable import FlowError, Network, answer, arp, first

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import policy
from controllers.proof import Proof
from experiments.firewall.mutants import KINDS, Fate, Mutant, judged, mutants
from topo.plan import plan as plan_of
from topo.profile import Profile

PLAN = plan_of(Profile())
RULES = policy(Profile())
FLOWS = compile_flows(PLAN, RULES)
WANTED = 120
PORTS = [("tcp", port) for port in (22, 53, 80, 443, 3306, 8404)] + [("udp", 53), ("icmp", 8)]


@pytest.fixture(scope="module")
def fates() -> list[tuple[Mutant, Fate]]:
    proof = Proof(PLAN)
    right = proof.check(FLOWS, RULES)
    assert right.holds
    return [(each, judged(proof, RULES, right, each.flows)) for each in mutants(PLAN, RULES, WANTED, Random(7))]


def test_every_mutant_is_caught_or_proved_equivalent(fates: list[tuple[Mutant, Fate]]) -> None:
    assert len(fates) == WANTED
    assert [mutant.what for mutant, fate in fates if fate.caught == fate.equivalent] == []


def test_every_kind_is_made_and_caught(fates: list[tuple[Mutant, Fate]]) -> None:
    made = Counter((mutant.kind, mutant.subject) for mutant, _ in fates)
    caught = Counter(mutant.kind for mutant, fate in fates if fate.caught)
    assert {kind for kind, _ in made} == set(KINDS) == set(caught)
    assert {subject for _, subject in made} == {"flow", "rule"}
    assert sum(caught.values()) > WANTED / 2, "mutants that nobody can tell prove little"


def test_one_seed_makes_the_same_mutants() -> None:
    one, other = (mutants(PLAN, RULES, 20, Random(3)) for _ in range(2))
    assert one == other
    assert mutants(PLAN, RULES, 20, Random(4)) != one
    assert len({each.flows for each in one}) == 20
    assert all(each.flows != FLOWS and each.what for each in one)


def arrivals(flows: tuple[Flow, ...]) -> list[object]:
    """Where packets of every conversation come to, first ones and answers, and ARP; by the Python switches."""
    seen: list[object] = []
    network = Network(PLAN, flows)
    for src, dst in permutations(PLAN.hosts, 2):
        for proto, port in PORTS:
            packet = first(src, dst, proto, port)
            network.tracker.zones.clear()
            arrived = network.send(src.name, packet).arrived
            seen.append(arrived)
            if arrived == dst.name:
                seen.append(network.send(dst.name, answer(packet)).arrived)
        seen.append(network.send(src.name, arp(src, dst)).arrived)
    return seen


def test_what_the_python_switches_notice_the_proof_notices(fates: list[tuple[Mutant, Fate]]) -> None:
    """A sample, by the third oracle: no mutant that is proved equivalent changes where any packet comes to."""
    right = arrivals(FLOWS)
    equivalent = [mutant for mutant, fate in fates if fate.equivalent]
    compared = 0
    for mutant in Random(1).sample(equivalent, 12):
        with suppress(FlowError):  # two flows do the same and count for two rules: OpenFlow leaves open which of them
            assert arrivals(mutant.flows) == right, mutant.what
            compared += 1
    assert compared >= 10
