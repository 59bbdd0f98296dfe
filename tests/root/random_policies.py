"""Random policies on a real testbed, one after the other, each probed with the values that its rules tell apart.

A program of its own (``random_policies.py SEED NUMBER``): it enters a box, and prints one JSON object for each policy.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from controllers.policy import DENY_REST, Rule
from controllers.policyfile import render
from controllers.verify.proof import Proof
from experiments.engine.run import Run
from experiments.firewall_matrix import answers
from experiments.firewall_matrix.answers import EVERYTHING, KINDS, within
from experiments.firewall_matrix.evidence import Answer, Intervals
from experiments.firewall_matrix.oracles import decided, proved
from experiments.firewall_matrix.sweep import Sweep, sweep
from testbed import session
from testbed.body import Body
from testbed.testbed import Testbed
from topo.folders import opened
from topo.plan import Plan
from topo.profile import Profile

PAIRS = 8
PORTS: Sequence[int | Intervals | None] = (None, 22, 80, ((80, 81), (8000, 8100)), ((0, 1023),), ((1024, 65535),))
TYPES: Sequence[int | Intervals | None] = (None, 8, 13, ((3, 8), (13, 13)))
EDGES: Answer = {
    "tcp": ((0, 1), (20, 23), (79, 82), (1022, 1025), (7999, 8001), (8099, 8102), (19999, 20001), (65534, 65535)),
    "udp": ((0, 1), (20, 23), (79, 82), (1022, 1025), (7999, 8001), (8099, 8102), (19999, 20001), (65534, 65535)),
    "icmp": EVERYTHING["icmp"],
    "ip": EVERYTHING["ip"],
}


def some_rules(plan: Plan, chance: random.Random) -> tuple[Rule, ...]:
    """Up to eight rules that nobody would write."""
    names = sorted(plan.names)
    made = []
    for number in range(chance.randrange(1, 9)):
        proto = chance.choice(["tcp", "tcp", "udp", "icmp", "any"])
        port = None if proto == "any" else chance.choice(TYPES if proto == "icmp" else PORTS)
        action = chance.choice(["allow", "allow", "deny"])
        made.append(Rule(f"rule-{number}", chance.choice(names), chance.choice(names), proto, port, action, "drawn"))
    return (*made, DENY_REST)


class Probed(Body):
    """What each oracle says about some pairs under each policy."""

    def __init__(self, seed: int, number: int) -> None:
        self.seed = seed
        self.number = number

    def __call__(self, testbed: Testbed) -> int:
        run = Run(opened(testbed.home), self.seed)
        proof = Proof(testbed.plan)
        for _ in range(self.number):
            rules = some_rules(testbed.plan, run.random)
            testbed.rollout.apply(render(rules), "random")
            reach = proof.reach(testbed.rollout.dumped())
            hosts = testbed.plan.hosts
            pairs = run.random.sample([(a, b) for a in hosts for b in hosts if a != b], PAIRS)
            swept = sweep(testbed, run, [Sweep(*pair, EDGES) for pair in pairs], attempts=1)
            for pair, seen in zip(pairs, swept, strict=True):
                row = {
                    "rules": [f"{rule.action} {rule.src} {rule.dst} {rule.what}" for rule in rules],
                    "pair": f"{pair[0].name} -> {pair[1].name}",
                    "policy": among(decided(rules, testbed.plan, *pair)),
                    "proof": among(proved(proof, reach, *pair)),
                    "wire": answers.shown(seen.arrived, 99),
                    "lost": seen.lost,
                }
                print(json.dumps(row), flush=True)
        return 0


def among(answer: Answer) -> str:
    """An answer about the values that are probed, in words."""
    return answers.shown({kind: within(answer[kind], EDGES[kind]) for kind in KINDS}, 99)


if __name__ == "__main__":
    seed, number = map(int, sys.argv[1:])
    body = Probed(seed, number)
    sys.exit(session.in_box("random", Profile(servers=2), [__file__, *sys.argv[1:]], body, quiet=True))
