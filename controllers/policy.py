"""The policy: an ordered list of rules over names of hosts and zones. The first match wins; the end is deny."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from typing import TypeAlias

from topo.errors import PolicyError, among
from topo.plan import (
    ANY,
    APP,
    BALANCER,
    DATABASE,
    GROUP,
    HTTP,
    INCREMENTAL,
    LOGS,
    METRICS,
    MONITOR,
    RESOLVER,
    RUNTIME,
    STATISTICS,
    TRANSFER,
    WATCHED,
    WEB,
    Host,
    Plan,
)

PROTOCOLS = ("tcp", "udp", "icmp", ANY)
ACTIONS = ("allow", "deny")
PORT_BITS = 1 << 16

MOST_RULES = 29_000  # each has a priority of its own

Ports: TypeAlias = tuple[tuple[int, int], ...]
When: TypeAlias = Callable[[Plan], bool]


def always(_: Plan) -> bool:
    """The condition of a rule that is there in every plan."""
    return True


@dataclass(frozen=True)
class Rule:
    """One sentence of the policy.

    ``src`` and ``dst`` name a role, a host, a zone, a group or ``any``, or several with commas between. ``port`` is the
    destination's (tcp, udp), or the ICMP type; several are closed ranges, ascending and apart: ((80, 80), (8000,
    8080)); None: all of them. An allow-rule names the host that may *begin* a conversation: answers pass because
    conntrack knows them, so there are no return rules that a server could abuse. ``when``: the plans it is in.
    """

    name: str
    src: str
    dst: str
    proto: str
    port: int | Ports | None
    action: str
    why: str
    when: When = field(default=always, compare=False, repr=False)

    @property
    def ports(self) -> Ports | None:
        """``port`` as ranges, however many there are."""
        return ((self.port, self.port),) if isinstance(self.port, int) else self.port

    @property
    def what(self) -> str:
        """Protocol and ports in words: ``tcp/80,8000-8080``."""
        return self.proto + ("/" + ",".join(shown_range(*span) for span in self.ports) if self.ports else "")

    @cached_property
    def conversations(self) -> int:
        """Every protocol and port that it speaks of, a bit for each: sets of them are compared in no time."""
        if self.proto == ANY:
            return (1 << len(PROTOCOLS) * PORT_BITS) - 1
        first = PROTOCOLS.index(self.proto) * PORT_BITS
        return sum((1 << high + 1) - (1 << low) for low, high in self.ports or ((0, PORT_BITS - 1),)) << first

    @property
    def mark(self) -> int:
        """The conntrack mark of this rule's connections. It follows from what the rule says and allows, not from
        its name or place: a connection stays known to the same rule when the policy around it changes."""
        said = (self.src, self.dst, self.proto, self.ports, self.action)
        return int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[:4], "big") or 1


ECHO_REQUEST = 8
DENY_REST = Rule("deny-rest", ANY, ANY, ANY, None, "deny", "what no rule allows is refused, in both directions")
FIREWALLS_OFF = (
    Rule("firewall-off", ANY, ANY, ANY, None, "allow", "the baseline: no firewall at all"),
    DENY_REST,
)


def _single(plan: Plan) -> bool:
    return plan.profile.db == "single"


def _managed(plan: Plan) -> bool:
    """Any database may become the primary."""
    return plan.profile.managed


def _cluster(plan: Plan) -> bool:
    """All databases speak with each other, and any of them may be the one that is written to."""
    return plan.profile.cluster


def _monitored(plan: Plan) -> bool:
    return plan.profile.monitored


def _unmonitored(plan: Plan) -> bool:
    """Nobody on the balancer itself reads its statistics, to push them to the monitoring host."""
    return not plan.profile.monitored


def _apart(role: str, other: str) -> When:
    return lambda plan: not plan.together(role, other)


def firewalls_on(plan: Plan) -> tuple[Rule, ...]:
    """Every rule that a plan may have, with its condition: the connections that the parts need, and no others."""
    dns, lb, web, app, db, mon = RESOLVER, BALANCER, WEB, APP, DATABASE, MONITOR
    port, sql = plan.port, plan.port(db)
    watched = ",".join(role for role in WATCHED if role != mon)
    copies = ((port(TRANSFER), port(TRANSFER)), (port(INCREMENTAL), port(INCREMENTAL)))
    return (
        _allow("dns-udp", "internet", dns, "udp", port(dns), "resolvers ask the authoritative server for www"),
        _allow("dns-tcp", "internet", dns, "tcp", port(dns), "answers that do not fit a datagram"),
        _allow("site-https", "internet", lb, "tcp", port(lb), "visitors reach the site"),
        _allow("site-http", "internet", lb, "tcp", port(HTTP), "visitors are redirected to HTTPS"),
        _allow("site-ping", "internet", lb, "icmp", ECHO_REQUEST, "visitors may see that the site is up"),
        _allow("web", lb, web, "tcp", port(web), "the balancer forwards requests to nginx"),
        _allow("app", web, app, "tcp", port(app), "nginx hands requests to an application", _apart(web, app)),
        _allow("db-write-endpoint", app, lb, "tcp", sql, "applications write through the balancer"),
        _allow("db-read", app, db, "tcp", sql, "applications read from a database", _apart(app, db)),
        _allow("db-primary", lb, "primary", "tcp", sql, "the balancer hands writes to the primary", _single),
        _allow("db-primary", lb, db, "tcp", sql, "the balancer hands writes to whoever is primary", _managed),
        _allow("db-primary", lb, db, "tcp", sql, "the balancer hands writes to one of the cluster", _cluster),
        _allow("db-replication", "replicas", "primary", "tcp", sql, "replicas fetch the primary's binary log", _single),
        _allow("db-replication", db, db, "tcp", sql, "replicas follow whoever is primary", _managed),
        _allow("failover-databases", mon, db, "tcp", sql, "the failover manager looks and promotes", _managed),
        _allow(
            "failover-balancer", mon, lb, "tcp", port(RUNTIME), "it tells the balancer who takes the writes", _managed
        ),
        _allow("db-group", db, db, "tcp", port(GROUP), "the databases agree on every commit", _cluster),
        _allow("db-transfer", db, db, "tcp", copies, "one that was away is sent what it lacks", _cluster),
        _allow("lb-statistics", mon, lb, "tcp", port(STATISTICS), "the balancer's statistics", _unmonitored),
        _allow("metrics", watched, mon, "tcp", port(METRICS), "monitoring clients push what they measure", _monitored),
        _allow("logs", watched, mon, "tcp", port(LOGS), "monitoring clients hand over what is logged", _monitored),
        _allow("mon-ping", mon, ANY, "icmp", ECHO_REQUEST, "the monitoring host looks who is alive"),
        DENY_REST,
    )


def _allow(name: str, src: str, dst: str, proto: str, port: int | Ports, why: str, when: When = always) -> Rule:
    return Rule(name, src, dst, proto, port, "allow", why, when)


def policy(plan: Plan) -> tuple[Rule, ...]:
    """The rules of a plan, in order."""
    if plan.profile.firewall == "off":
        return FIREWALLS_OFF
    return tuple(rule for rule in firewalls_on(plan) if rule.when(plan))


def validate(rules: tuple[Rule, ...], plan: Plan) -> None:
    """Raise PolicyError with everything that is wrong, all at once."""
    problems = [f"rule {rule.name}: {problem}" for rule in rules for problem in _problems(rule, plan)]
    names = Counter(rule.name for rule in rules)
    problems += [f"rule {name}: the name is used twice" for name in sorted(names) if names[name] > 1]
    if len(rules) > MOST_RULES:
        problems.append(f"{len(rules)} rules are more than {MOST_RULES}")
    if not rules or rules[-1] != DENY_REST:
        problems.append(f"the last rule must be {DENY_REST.name}")
    if problems:
        raise PolicyError("policy: " + "; ".join(problems))


def _problems(rule: Rule, plan: Plan) -> Iterable[str]:
    for side in (*rule.src.split(","), *rule.dst.split(",")):
        if side not in plan.names:
            yield f"{side} is no host, zone or group; known: {among(side, plan.names)}"
    if rule.proto not in PROTOCOLS:
        yield f"protocol {rule.proto} is none of {', '.join(PROTOCOLS)}"
    if rule.action not in ACTIONS:
        yield f"action {rule.action} is none of {', '.join(ACTIONS)}"
    yield from _port_problems(rule)


def _port_problems(rule: Rule) -> Iterable[str]:
    if rule.ports is None:
        return
    if rule.proto == ANY:
        yield "a port needs a protocol"
        return
    limit = 255 if rule.proto == "icmp" else 65535
    wrong = [shown_range(low, high) for low, high in rule.ports if not 0 <= low <= high <= limit]
    for shown in wrong:
        yield f"port {shown} is not within 0..{limit}"
    if not wrong and (not rule.ports or any(low <= high + 1 for (_, high), (low, _) in pairwise(rule.ports))):
        yield "ports must be ranges, ascending and apart"


def shown_range(low: int, high: int) -> str:
    """A range of ports in words."""
    return str(low) if low == high else f"{low}-{high}"


def members(plan: Plan, side: str) -> tuple[Host, ...]:
    """The hosts that one side of a rule speaks of, each once."""
    return tuple(dict.fromkeys(host for name in side.split(",") for host in plan.names[name]))


def pairs(rule: Rule, plan: Plan) -> Iterator[tuple[Host, Host]]:
    """Every (source, destination) that a rule speaks of; a host never talks to itself over the network."""
    for src, dst in product(members(plan, rule.src), members(plan, rule.dst)):
        if src != dst:
            yield src, dst


def decide(rules: tuple[Rule, ...], plan: Plan, src: str, dst: str, proto: str, port: int) -> Rule:
    """The rule that decides about the first packet of a conversation: the reference for every other oracle."""
    source, destination = plan.host(src), plan.host(dst)
    for rule in rules:
        matches = (
            rule.proto in (proto, ANY)
            and (rule.ports is None or any(low <= port <= high for low, high in rule.ports))
            and _is_of(plan, source, rule.src)
            and _is_of(plan, destination, rule.dst)
        )
        if matches:
            return rule
    return DENY_REST


def _is_of(plan: Plan, host: Host, side: str) -> bool:
    """Is it one of ``members``? Asked hundreds of thousands of times."""
    return any(host in plan.names[name] for name in side.split(","))
