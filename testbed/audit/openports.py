"""Check ``sockets``: every socket on which a host listens, against the policy that the plan has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from controllers.policy import Rule, decide, firewalls_on, pairs
from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import LOW, MEDIUM, Finding
from testbed.audit.hostprocesses import ListeningSocket
from topo.plan import Host, Plan

REFERENCE = "CIS Controls v8, 4.8: uninstall or disable unnecessary services"


@dataclass(frozen=True)
class HostSockets:
    """A host's sockets; ``wanted``: (protocol, lowest, highest port) that the plan's policy lets others reach."""

    host: str
    sockets: Sequence[ListeningSocket]
    wanted: frozenset[tuple[str, int, int]]

    def is_wanted(self, one: ListeningSocket) -> bool:
        return any(proto == one.proto and low <= one.port <= high for proto, low, high in self.wanted)


def wanted(plan: Plan, host: Host) -> frozenset[tuple[str, int, int]]:
    """The ports of a host that the plan's own policy opens, whether or not its firewalls are on."""
    rules = tuple(rule for rule in firewalls_on(plan) if rule.when(plan) and rule.action == "allow")
    return frozenset((rule.proto, *span) for rule in rules if _concerns(rule, plan, host) for span in rule.ports or ())


def _concerns(rule: Rule, plan: Plan, host: Host) -> bool:
    return any(dst == host for _, dst in pairs(rule, plan))


def reachable(rules: tuple[Rule, ...], plan: Plan, host: str, proto: str, port: int) -> list[str]:
    """The hosts from which these rules let packets get to a port."""
    others = [other.name for other in plan.hosts if other.name != host]
    return [other for other in others if decide(rules, plan, other, host, proto, port).action == "allow"]


def places(auditor: Auditor) -> Places[HostSockets]:
    """The hosts."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_read, auditor, host)


def _read(auditor: Auditor, host: Host) -> HostSockets:
    return HostSockets(host.name, auditor.sockets(host), wanted(auditor.plan, host))


def judge(facts: HostSockets) -> Iterator[Finding]:
    """A socket that no rule opens: of no service, it is a stranger's; of a service, it rests on the firewalls alone."""
    for one in facts.sockets:
        where = f"{facts.host}:{one}"
        if one.local:
            continue
        if not facts.is_wanted(one):
            said = f"{one.program} listens on {one.address}, and no rule of the policy opens that port"
            severity = LOW if one.service else MEDIUM
            remedy = "bind it to 127.0.0.1" if one.service else "end that program, or declare it as a service"
            yield Finding("socket-stray", severity, where, said, f"{remedy} (services/)", REFERENCE)
        elif ":" in one.address:
            said = f"{one.program} listens on IPv6 ({one.address}), of which no rule of the policy speaks"
            yield Finding("socket-ipv6", LOW, where, said, "bind it to the host's IPv4 address (services/)", REFERENCE)
