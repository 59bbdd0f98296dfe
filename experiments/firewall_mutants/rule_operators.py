"""Slips in one rule of the policy, as somebody makes them who edits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from controllers.compile import compile_flows
from controllers.policy import DENY_REST, Rule
from experiments.firewall_mutants.flow_operators import Slip
from topo.errors import PolicyError
from topo.plan import ANY, Plan


def rule_slip(plan: Plan, rules: tuple[Rule, ...], kind: str, random: Random) -> Slip | None:
    """One of that kind, drawn, and the flows that its policy becomes; None when the policy is refused."""
    at = random.randrange(len(rules) - 1)
    rule = rules[at]
    if kind == "delete":
        what, new = f"rule {rule.name} is gone", (*rules[:at], *rules[at + 1 :])
    elif kind == "reorder":
        rest = [each for each in rules[:-1] if each != rule]
        rest.insert(random.randrange(len(rules) - 1), rule)
        what, new = f"rule {rule.name} stands elsewhere", (*rest, DENY_REST)
    else:
        made = random.choice(list(_changed(plan, rule, kind, random)))
        what, new = f"rule {_shown(rule)} became {_shown(made)}", (*rules[:at], made, *rules[at + 1 :])
    try:
        return what, compile_flows(plan, new)
    except PolicyError:
        return None


def _changed(plan: Plan, rule: Rule, kind: str, random: Random) -> Iterator[Rule]:
    """The ways in which one rule may slip; every kind has at least one."""
    names = sorted(plan.names)
    if kind == "swap":
        yield replace(rule, src=rule.dst, dst=rule.src)
    elif kind == "widen":
        yield replace(rule, src=ANY)
        yield replace(rule, dst=ANY)
        yield replace(rule, port=None)
        if isinstance(rule.port, int) and rule.proto != "icmp":  # its neighbours' types begin nothing
            yield replace(rule, port=((max(0, rule.port - 1), rule.port + 1),))
    elif kind == "narrow":
        yield replace(rule, src=random.choice(plan.names[rule.src.split(",")[0]] or plan.hosts).name)
        yield replace(rule, dst=random.choice(plan.names[rule.dst.split(",")[0]] or plan.hosts).name)
    else:
        yield replace(rule, src=random.choice(names))
        yield replace(rule, dst=random.choice(names))
        yield replace(rule, proto=random.choice([each for each in ("tcp", "udp", "icmp") if each != rule.proto]))
        yield replace(rule, action="deny" if rule.action == "allow" else "allow")
        if isinstance(rule.port, int):
            yield replace(rule, port=rule.port ^ (1 << random.randrange(6)))


def _shown(rule: Rule) -> str:
    return f"{rule.name} ({rule.action} {rule.src} -> {rule.dst} {rule.what})"
