"""What a policy says in vain: rules that decide about nothing, or whose absence changes nothing. Exact, by sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controllers.policy import DENY_REST, Rule
from controllers.verify.intent import Intent
from controllers.verify.packetset import Space
from topo.plan import Plan


def advice(rules: Sequence[Rule], plan: Plan) -> list[str]:
    """One line for each rule that is said in vain, in order."""
    intent = Intent(plan, Space())
    spoken = intent.spoken(rules)
    decided = {pair: intent.decided(told, intent.space.everything) for pair, told in spoken.items()}
    lines = []
    for rule in rules:
        told = {pair: each for pair, each in spoken.items() if rule in each}
        if rule == DENY_REST:
            continue
        if not told:
            lines.append(f"{rule.name}: speaks of nobody: {rule.src} -> {rule.dst} has no two hosts")
        elif not any(rule in (each for each, _ in decided[pair]) for pair in told):
            above = _above(rule, told, intent)
            how = "shadowed" if any(each.action != rule.action for each in above) else "redundant"
            lines.append(f"{rule.name}: {how}: {_names(above)} above it {_decide(above)} about all that it speaks of")
        elif all(intent.allowed(each) is intent.allowed(r for r in each if r != rule) for each in told.values()):
            lines.append(f"{rule.name}: redundant: without it the rules below would {rule.action} the same")
    return lines


def unused(rules: Sequence[Rule], counters: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The rules that no packet has met on any switch, by the running testbed's counters."""
    return [
        f"{rule.name}: never hit since its flows were installed"
        for rule in rules
        if not any(counts.get(rule.name) for counts in counters.values())
    ]


def _above(rule: Rule, told: Mapping[tuple[str, str], Sequence[Rule]], intent: Intent) -> list[Rule]:
    """The rules that decide in place of this one."""
    found: dict[Rule, None] = {}
    for each in told.values():
        said = intent.allowed([Rule(rule.name, rule.src, rule.dst, rule.proto, rule.port, "allow", "")])
        before = each[: each.index(rule)]
        found |= {above: None for above, _ in intent.decided(before, said)}
    return list(found)


def _names(rules: Sequence[Rule]) -> str:
    return " and ".join(rule.name for rule in rules)


def _decide(rules: Sequence[Rule]) -> str:
    return "decides" if len(rules) == 1 else "decide"
