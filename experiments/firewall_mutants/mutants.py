"""Mutants: wrong policies and wrong flows, which a proof and a prober must notice, or they prove nothing.

A mutant is one mutation: something deleted, swapped, widened, narrowed, re-ordered or mistyped, in one rule or one
flow. The same seed makes the same mutants. All are flows that a switch accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice, product
from random import Random

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import Rule
from controllers.verify.proof import Checked
from experiments.firewall_mutants.operators import Flows, flow_mutation, rule_mutation
from topo.plan import Plan

KINDS = ("delete", "swap", "widen", "narrow", "reorder", "mistype")
SUBJECTS = ("flow", "rule", "flow")
TRIES = 30


@dataclass(frozen=True)
class Mutant:
    """``kind`` of mutation, of a ``rule`` or a ``flow``; ``what`` it is in words; ``flows``: all of them then."""

    kind: str
    subject: str
    what: str
    flows: Flows


@dataclass(frozen=True)
class ProofFate:
    """``caught``: policy and flows differ. ``equivalent``: exactly the same packets arrive as without the mutation."""

    caught: bool
    equivalent: bool


def fate_by_proof(checked: Checked, right: Checked) -> ProofFate:
    """Oracle 2's word about a mutant; ``right``: about the flows without the mutation.

    Which rule a packet counts for is not asked: a proof does not look at cookies. That the switches hold the compiled
    flows, cookies included, is compared flow by flow whenever they are installed.
    """
    same = checked.reach.arrived == right.reach.arrived and not checked.reach.anomalies
    return ProofFate(caught=not checked.holds, equivalent=same)


def mutants(plan: Plan, rules: tuple[Rule, ...], count: int, random: Random) -> list[Mutant]:
    """So many different ones: every kind in turn, of flows twice as often as of rules; fewer when no more are found."""
    right = compile_flows(plan, rules)
    made: dict[frozenset[Flow], Mutant] = {}
    for kind, subject in islice(cycle(product(KINDS, SUBJECTS)), count * len(SUBJECTS)):
        if len(made) == count:
            break
        for _ in range(TRIES):
            mutation = (
                flow_mutation(plan, right, kind, random)
                if subject == "flow"
                else rule_mutation(plan, rules, kind, random)
            )
            if mutation and frozenset(mutation[1]) not in made and frozenset(mutation[1]) != frozenset(right):
                made[frozenset(mutation[1])] = Mutant(kind, subject, *mutation)
                break
    return list(made.values())
