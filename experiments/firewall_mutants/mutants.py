"""Wrong policies and wrong flows, made on purpose: what a proof and a prober must notice, or they prove nothing.

A mutant is one slip: something deleted, swapped, widened, narrowed, re-ordered or mistyped, in one rule or one flow.
The same seed makes the same mutants. All are flows that a switch accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice, product
from random import Random

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import Rule
from controllers.verify.proof import Checked
from experiments.firewall_mutants.flow_operators import Flows, flow_slip
from experiments.firewall_mutants.rule_operators import rule_slip
from topo.plan import Plan

KINDS = ("delete", "swap", "widen", "narrow", "reorder", "mistype")
SUBJECTS = ("flow", "rule", "flow")
TRIES = 30


@dataclass(frozen=True)
class Mutant:
    """``kind`` of slip, in a ``rule`` or a ``flow``; ``what`` it was in words; ``flows``: all of them then."""

    kind: str
    subject: str
    what: str
    flows: Flows


@dataclass(frozen=True)
class Fate:
    """``caught``: policy and flows differ. ``equivalent``: exactly the same packets arrive as without the slip."""

    caught: bool
    equivalent: bool


def judged(checked: Checked, right: Checked) -> Fate:
    """What oracle 2 says of a mutant; ``right`` is what it said of the flows without the slip.

    Which rule a packet counts for is not asked: a proof does not look at cookies. That the switches hold the compiled
    flows, cookies included, is compared flow by flow whenever they are installed.
    """
    same = checked.reach.arrived == right.reach.arrived and not checked.reach.oddities
    return Fate(caught=not checked.holds, equivalent=same)


def mutants(plan: Plan, rules: tuple[Rule, ...], count: int, random: Random) -> list[Mutant]:
    """So many different ones: every kind in turn, of flows twice as often as of rules; fewer when no more are found."""
    right = compile_flows(plan, rules)
    made: dict[frozenset[Flow], Mutant] = {}
    for kind, subject in islice(cycle(product(KINDS, SUBJECTS)), count * len(SUBJECTS)):
        if len(made) == count:
            break
        for _ in range(TRIES):
            slip = flow_slip(plan, right, kind, random) if subject == "flow" else rule_slip(plan, rules, kind, random)
            if slip and frozenset(slip[1]) not in made and frozenset(slip[1]) != frozenset(right):
                made[frozenset(slip[1])] = Mutant(kind, subject, *slip)
                break
    return list(made.values())
