"""Check ``rules``: rules of the policy that are wider than what is there to be reached, or that no packet has met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controllers.policy import Rule, pairs
from controllers.verify.advice import advice, unused
from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding
from testbed.audit.hostprocesses import ListeningSocket
from topo.plan import ANY, Plan

FILE = "controllers/policy.py"
REFERENCE = "NIST SP 800-41 rev. 1, 4.2 and 5.2"


@dataclass(frozen=True)
class RulesInUse:
    """The rules in force; ``counters``: packets by switch and rule; ``sockets``: by host, those that listen."""

    plan: Plan
    rules: tuple[Rule, ...]
    counters: Mapping[str, Mapping[str, int]]
    sockets: Mapping[str, Sequence[ListeningSocket]]


def places(auditor: Auditor) -> Places[RulesInUse]:
    """The policy as a whole."""

    def look() -> RulesInUse:
        testbed, plan = auditor.testbed, auditor.plan
        sockets = {host.name: auditor.sockets(host) for host in plan.hosts}
        return RulesInUse(plan, testbed.rules, testbed.rule_counters(), sockets)

    yield "the policy", look


def judge(facts: RulesInUse) -> Iterator[Finding]:
    """Rules without a bound, of idle ports, never met, or without an effect."""
    allowing = [rule for rule in facts.rules if rule.action == "allow"]
    for rule in allowing:
        where = f"rule {rule.name}"
        if rule.proto == ANY or (rule.ports is None and rule.proto != "icmp"):
            severity = HIGH if rule.src == rule.dst == ANY else MEDIUM
            evidence = f"it allows {rule.src} -> {rule.dst} every {'port' if rule.proto != ANY else 'protocol'}"
            remedy = "--firewall on" if rule.proto == ANY else FILE
            yield Finding("rule-wide", severity, where, evidence, remedy, REFERENCE)
        elif idle := _idle(rule, facts):
            evidence = f"it opens what nobody listens at: {', '.join(idle)}"
            yield Finding("rule-idle", LOW, where, evidence, FILE, REFERENCE)
    for line in unused(allowing, facts.counters):
        yield _advised("rule-unused", line)
    for line in advice(facts.rules, facts.plan):
        yield _advised("rule-redundant", line)


def _advised(kind: str, line: str) -> Finding:
    name, _, evidence = line.partition(": ")
    return Finding(kind, LOW, f"rule {name}", evidence, FILE, REFERENCE)


def _idle(rule: Rule, facts: RulesInUse) -> list[str]:
    """The ranges of ports of hosts that a rule opens, and at which nobody listens."""
    targets = dict.fromkeys(dst.name for _, dst in pairs(rule, facts.plan))
    return [
        f"{host}:{rule.proto}/{low if low == high else f'{low}-{high}'}"
        for host in targets
        for low, high in rule.ports or ()
        if rule.proto in ("tcp", "udp") and not _listens(facts.sockets[host], rule.proto, low, high)
    ]


def _listens(sockets: Sequence[ListeningSocket], proto: str, low: int, high: int) -> bool:
    """True if a range is used: each of its ports if they are few."""
    ports = {one.port for one in sockets if one.proto == proto and not one.local and low <= one.port <= high}
    return len(ports) == high - low + 1
