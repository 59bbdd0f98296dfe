"""Advice on a policy: its rules that decide about nothing, or whose absence changes nothing. Exact, by sets.

Pairs of hosts of which the same rules speak are looked at together, and each rule once for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controllers.policy import DENY_REST, Rule, pairs
from topo.plan import Plan

MOST_NAMES = 12
Speaking = tuple[int, ...]  # the rules that speak of some pair of hosts, by their place in the policy


def advice(rules: Sequence[Rule], plan: Plan) -> list[str]:
    """A line for every rule without an effect, in order."""
    alike = _alike(rules, plan)
    concerned = {number for speaking in alike for number in speaking}
    decides = {number for speaking in alike for number, part in _decided(rules, speaking) if part}
    needed = {number for speaking in alike for number in _needed(rules, speaking)}
    above = _above(rules, alike, concerned - decides)
    lines = []
    for number, rule in enumerate(rules):
        if rule == DENY_REST:
            continue
        if number not in concerned:
            lines.append(f"{rule.name}: applies to no hosts: {rule.src} -> {rule.dst} has no two hosts")
        elif number not in decides:
            higher = [rules[place] for place in above[number]]
            how = "shadowed" if any(other.action != rule.action for other in higher) else "redundant"
            lines.append(f"{rule.name}: {how}: {_names(higher)} above it {_decide(higher)} about all that it speaks of")
        elif number not in needed:
            lines.append(f"{rule.name}: redundant: without it the rules below would {rule.action} the same")
    return lines


def unused(rules: Sequence[Rule], counters: Mapping[str, Mapping[str, int]]) -> list[str]:
    """The rules that no packet has met on any switch, by the running testbed's counters."""
    return [
        f"{rule.name}: never hit since its flows were installed"
        for rule in rules
        if not any(counts.get(rule.name) for counts in counters.values())
    ]


def _alike(rules: Sequence[Rule], plan: Plan) -> list[Speaking]:
    """The different lists of rules that speak of one pair of hosts each."""
    spoken: dict[tuple[str, str], list[int]] = {(a.name, b.name): [] for a in plan.hosts for b in plan.hosts if a != b}
    ends: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for number, rule in enumerate(rules):
        sides = (rule.src, rule.dst)
        if sides not in ends:
            ends[sides] = [(src.name, dst.name) for src, dst in pairs(rule, plan)]
        for pair in ends[sides]:
            spoken[pair].append(number)
    return list(dict.fromkeys(map(tuple, spoken.values())))


def _decided(rules: Sequence[Rule], speaking: Speaking) -> Iterator[tuple[int, int]]:
    """Each rule with the conversations about which it decides: those of which no rule above it speaks."""
    above = 0
    for number in speaking:
        yield number, rules[number].conversations & ~above
        above |= rules[number].conversations


def _needed(rules: Sequence[Rule], speaking: Speaking) -> Iterator[int]:
    """The rules without which those below would decide otherwise about something."""
    allowed = 0
    for number, part in reversed(list(_decided(rules, speaking))):
        rule = rules[number]
        if rule.action == "allow":
            differs, allowed = part & ~allowed, allowed | rule.conversations
        else:
            differs, allowed = part & allowed, allowed & ~rule.conversations
        if differs:
            yield number


def _above(rules: Sequence[Rule], alike: Sequence[Speaking], idle: set[int]) -> dict[int, dict[int, None]]:
    """The rules that decide in place of each of the ``idle`` ones."""
    above: dict[int, dict[int, None]] = {number: {} for number in idle}
    for speaking in alike if idle else ():
        deciding: list[tuple[int, int]] = []
        for number, part in _decided(rules, speaking):
            if number in idle:
                said = rules[number].conversations
                above[number] |= {higher: None for higher, decided in deciding if decided & said}
            elif part:
                deciding.append((number, part))
    return above


def _names(rules: Sequence[Rule]) -> str:
    more = [f"{len(rules) - MOST_NAMES} others"] if len(rules) > MOST_NAMES else []
    return " and ".join([*(rule.name for rule in rules[:MOST_NAMES]), *more])


def _decide(rules: Sequence[Rule]) -> str:
    return "decides" if len(rules) == 1 else "decide"
