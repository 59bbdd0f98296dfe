"""Advice on a policy: its rules that decide about nothing, or whose absence changes nothing. Exact, by sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controllers.policy import DENY_REST, Rule
from controllers.verify.intent import Intent
from controllers.verify.packetset import Space
from topo.plan import Plan


def advice(rules: Sequence[Rule], plan: Plan) -> list[str]:
    """A line for every rule without an effect, in order."""
    intent = Intent(plan, Space())
    spoken = intent.spoken(rules)
    decided = {pair: intent.decided(speaking, intent.space.everything) for pair, speaking in spoken.items()}
    lines = []
    for rule in rules:
        concerned = {pair: speaking for pair, speaking in spoken.items() if rule in speaking}
        if rule == DENY_REST:
            continue
        if not concerned:
            lines.append(f"{rule.name}: applies to no hosts: {rule.src} -> {rule.dst} has no two hosts")
        elif not any(rule in (decider for decider, _ in decided[pair]) for pair in concerned):
            above = _above(rule, concerned, intent)
            how = "shadowed" if any(higher.action != rule.action for higher in above) else "redundant"
            lines.append(f"{rule.name}: {how}: {_names(above)} above it {_decide(above)} about all that it speaks of")
        elif all(
            intent.allowed(every) is intent.allowed(r for r in every if r != rule) for every in concerned.values()
        ):
            lines.append(f"{rule.name}: redundant: without it the rules below would {rule.action} the same")
    return lines


def unused(rules: Sequence[Rule], counters: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The rules that no packet has met on any switch, by the running testbed's counters."""
    return [
        f"{rule.name}: never hit since its flows were installed"
        for rule in rules
        if not any(counts.get(rule.name) for counts in counters.values())
    ]


def _above(rule: Rule, concerned: Mapping[tuple[str, str], Sequence[Rule]], intent: Intent) -> list[Rule]:
    """The rules that decide in place of this one."""
    above: dict[Rule, None] = {}
    for speaking in concerned.values():
        said = intent.allowed([Rule(rule.name, rule.src, rule.dst, rule.proto, rule.port, "allow", "")])
        before = speaking[: speaking.index(rule)]
        above |= {decider: None for decider, _ in intent.decided(before, said)}
    return list(above)


def _names(rules: Sequence[Rule]) -> str:
    return " and ".join(rule.name for rule in rules)


def _decide(rules: Sequence[Rule]) -> str:
    return "decides" if len(rules) == 1 else "decide"
