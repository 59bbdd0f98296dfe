"""The time to prove a policy again when one rule of it has changed, and how that grows with the rules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell
from controllers.compile import compile_flows
from controllers.policy import DENY_REST, Rule, policy
from controllers.verify.proof import Proof
from topo.errors import FoobarError
from topo.plan import Plan, plan
from topo.profile import SEED

RULES = (10, 100, 1000, 10_000)
REFERENCE = "a proof from nothing"
SEED_OF_RULES = 1


class Reverification(Benchmark):
    """A proof that remembers the last one against one that remembers nothing; nothing runs in a box."""

    name = "verify"

    def measure(self, size: Size, tell: Tell) -> Report:
        where, random = plan(SEED), Random(SEED_OF_RULES)
        policies = {"the shipped policy": policy(where)} | {f"{n:,} rules": drawn(where, n, random) for n in RULES}
        series: list[PairedSeries] = []
        for name, rules in policies.items():
            tell(name)
            target = Target("ratio", "<=", 0.5) if series else Target("ours", "<=", 5)
            again, anew = compared(where, rules, size.pairs, random)
            series.append(PairedSeries(f"one rule changed, {name}", "ms", again, anew, REFERENCE, target))
        return Report(tuple(series))


def compared(
    where: Plan, rules: Sequence[Rule], pairs: int, random: Random
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ms that each of so many changed policies takes to prove: after another one, and from nothing."""
    kept = Proof(where)
    _proved(kept, where, rules)
    taken = []
    for _ in range(pairs):
        other = changed(rules, random)
        taken.append((_proved(kept, where, other), _proved(Proof(where), where, other)))
    again, anew = zip(*taken, strict=True)
    return again, anew


def changed(rules: Sequence[Rule], random: Random) -> tuple[Rule, ...]:
    """One rule, for TCP or UDP, says another port."""
    at = random.choice([at for at, rule in enumerate(rules) if rule.proto in ("tcp", "udp")])
    return (*rules[:at], replace(rules[at], port=random.randrange(1, 65536)), *rules[at + 1 :])


def drawn(where: Plan, count: int, random: Random) -> tuple[Rule, ...]:
    """So many rules, with the denial at the end, between any two hosts."""
    names = [host.name for host in where.hosts]
    made = []
    for number in range(1, count):
        src, dst = random.sample(names, 2)
        made.append(Rule(f"rule-{number}", src, dst, "tcp", random.randrange(1, 65536), "allow", "drawn"))
    return (*made, DENY_REST)


def _proved(proof: Proof, where: Plan, rules: Sequence[Rule]) -> float:
    """ms from the flows and the rules to the verdict. Raises FoobarError when they do not agree."""
    flows = compile_flows(where, tuple(rules))
    began = time.perf_counter()
    holds = proof.check(flows, rules).holds
    taken = (time.perf_counter() - began) * 1000
    if not holds:
        raise FoobarError("the compiled flows are not what the policy says")
    return taken
