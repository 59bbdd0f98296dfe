"""Mutations of every kind: the proof catches each, or proves that it makes no difference."""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest

from controllers.compile import compile_flows
from controllers.policy import policy
from controllers.verify.proof import Proof
from experiments.firewall_mutants.mutants import KINDS, Mutant, ProofFate, fate_by_proof, mutants
from topo.plan import plan as plan_of
from topo.profile import Profile

PLAN = plan_of(Profile())
RULES = policy(plan_of(Profile()))
FLOWS = compile_flows(PLAN, RULES)
# more of them in the gate
WANTED = 120 if "CI" in os.environ else 48


@pytest.fixture(scope="module")
def fates() -> list[tuple[Mutant, ProofFate]]:
    proof = Proof(PLAN)
    right = proof.check(FLOWS, RULES)
    assert right.holds
    return [
        (mutant, fate_by_proof(proof.check(mutant.flows, RULES), right))
        for mutant in mutants(PLAN, RULES, WANTED, Random(7))
    ]


def test_every_mutant_is_caught_or_proved_equivalent(fates: list[tuple[Mutant, ProofFate]]) -> None:
    assert len(fates) == WANTED
    assert [mutant.what for mutant, fate in fates if fate.caught == fate.equivalent] == []


def test_every_kind_is_made_and_caught(fates: list[tuple[Mutant, ProofFate]]) -> None:
    made = Counter((mutant.kind, mutant.subject) for mutant, _ in fates)
    caught = Counter(mutant.kind for mutant, fate in fates if fate.caught)
    assert {kind for kind, _ in made} == set(KINDS) == set(caught)
    assert {subject for _, subject in made} == {"flow", "rule"}
    assert sum(caught.values()) > WANTED / 2, "mutants that make no difference prove little"


def test_one_seed_makes_the_same_mutants() -> None:
    one, other = (mutants(PLAN, RULES, 20, Random(3)) for _ in range(2))
    assert one == other
    assert mutants(PLAN, RULES, 20, Random(4)) != one
    assert len({mutant.flows for mutant in one}) == 20
    assert all(mutant.flows != FLOWS and mutant.what for mutant in one)
