"""Wrong policies and wrong flows, made on purpose: what a proof and a prober must notice, or they prove nothing.

A mutant is one slip: something deleted, swapped, widened, narrowed, re-ordered or mistyped, in one rule or one flow.
The same seed makes the same mutants. All are flows that a switch accepts.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import Rule
from controllers.proof import Checked, Proof
from experiments.firewall.flow_slips import Flows, flow_slip
from experiments.firewall.rule_slips import rule_slip
from topo.plan import Plan

KINDS = ("delete", "swap", "widen", "narrow", "reorder", "mistype")
SUBJECTS = ("flow", "rule", "flow")
TRIES = 1000


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


def judged(proof: Proof, rules: tuple[Rule, ...], right: Checked, flows: Flows) -> Fate:
    """What oracle 2 says of a mutant's flows; ``right`` is what it said of the flows without the slip.

    Which rule a packet counts for is not asked: a proof does not look at cookies. That the switches hold the compiled
    flows, cookies included, is compared flow by flow whenever they are installed.
    """
    checked = proof.check(flows, rules)
    same = checked.reach.arrived == right.reach.arrived and not checked.reach.oddities
    return Fate(caught=not checked.holds, equivalent=same)


def mutants(plan: Plan, rules: tuple[Rule, ...], count: int, random: Random) -> list[Mutant]:
    """So many different ones: every kind in turn, of flows twice as often as of rules; fewer when no more are found."""
    right = compile_flows(plan, rules)
    turns = [(kind, subject) for kind in KINDS for subject in SUBJECTS]
    made: dict[frozenset[Flow], Mutant] = {}
    turn = failed = 0
    while len(made) < count and failed < TRIES:
        kind, subject = turns[turn % len(turns)]
        turn += 1
        slip = flow_slip(plan, right, kind, random) if subject == "flow" else rule_slip(plan, rules, kind, random)
        if slip is None or frozenset(slip[1]) in made or frozenset(slip[1]) == frozenset(right):
            failed += 1
            continue
        failed = 0
        made[frozenset(slip[1])] = Mutant(kind, subject, *slip)
    return list(made.values())
