"""On whom the odd packets are tried: pairs of hosts, ports that are open and closed between them, and conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from controllers.policy import Rule, decide, pairs
from experiments.firewall_matrix.oddity import (
    ANY_PORT,
    AS_POLICY,
    CLIENT,
    PAIRS,
    PRETENDING,
    SERVER,
    STRANGER_TO_SERVER,
    Aim,
    Conversation,
    Oddity,
)
from topo.plan import Host, Plan

Pair = tuple[Host, Host]
TOKEN_BYTES = 8
SOURCE_PORTS = (10_000, 20_000)  # below those that Linux gives to connections, and those of a sweep's probes
TELNET = 23
GREETED = 3306  # a database counts who hangs up on it, and shuts him out


def sampled(plan: Plan, rules: tuple[Rule, ...], random: Random, more: int = 4) -> list[Pair]:
    """The attacker to everybody, every server to him, one pair for each way that the policy opens, and some more."""
    attacker = plan.host("attacker")
    others = [host for host in plan.hosts if host != attacker]
    chosen = [(attacker, host) for host in others] + [(server, attacker) for server in plan.servers]
    for rule in rules:
        spoken = list(pairs(rule, plan))
        if spoken and rule.action == "allow" and rule.proto in ("tcp", "udp"):
            chosen.append(random.choice(spoken))
    every = [(src, dst) for src in plan.hosts for dst in plan.hosts if src != dst]
    return list(dict.fromkeys([*chosen, *random.sample(every, min(more, len(every)))]))


def ports(plan: Plan, rules: tuple[Rule, ...], src: Host, dst: Host, proto: str) -> tuple[list[int], list[int]]:
    """Ports that the policy opens between two hosts, and ports that it does not: those that a rule names, and next to
    them."""
    named = {port for rule in rules if rule.proto == proto for span in rule.ports or () for port in span}
    near = {port + step for port in named for step in (-1, 1)}
    tried = sorted(port for port in {*named, *near, TELNET} if 0 < port < 65536)
    opened = [port for port in tried if decide(rules, plan, src.name, dst.name, proto, port).action == "allow"]
    return opened, [port for port in tried if port not in opened]


def talks(plan: Plan, rules: tuple[Rule, ...], random: Random) -> list[tuple[Host, Host, int]]:
    """Conversations to have: one that no firewall of a server's sees, and one that does. Client, server, TCP port."""
    ways = [
        (src, dst, rule.ports[0][0])
        for rule in rules
        if rule.action == "allow" and rule.proto == "tcp" and rule.ports and rule.ports[0][0] != GREETED
        for src, dst in pairs(rule, plan)
    ]
    guarded = [way for way in ways if any(plan.switch(name).guards for name in plan.policed_by(*_names(way)))]
    free = [way for way in ways if way not in guarded and "attacker" not in _names(way)]
    return [random.choice(group) for group in (free, guarded) if group]


def _names(way: tuple[Host, Host, int]) -> tuple[str, str]:
    return way[0].name, way[1].name


@dataclass(frozen=True)
class Range:
    """Where to aim: the pairs and the conversations of one run, under one policy."""

    plan: Plan
    rules: tuple[Rule, ...]
    random: Random
    pairs: Sequence[Pair]
    known: Sequence[Conversation]
    _ports: dict[tuple[Host, Host, str], tuple[list[int], list[int]]] = field(default_factory=dict)

    def aims(self, oddity: Oddity) -> Iterator[Aim]:
        """Everybody that an oddity is tried on."""
        if oddity.scope == PAIRS:
            for src, dst in self.pairs:
                yield from self._at(src, dst, oddity)
        elif oddity.scope == ANY_PORT:
            for src, dst in self.pairs:
                yield self._aim(src, dst, self._third(src, dst), 0, allowed=True)
        elif oddity.scope == PRETENDING:
            for src, dst in self.pairs:
                yield self._as_friend(src, dst, oddity.proto)
        else:
            for talk in self.known:
                yield self._about(talk, oddity.scope, oddity.may)

    def _at(self, src: Host, dst: Host, oddity: Oddity) -> Iterator[Aim]:
        """At an open and at a closed port; what must never arrive, at an open one if there is one."""
        opened, closed = self._between(src, dst, oddity.proto)
        if opened:
            yield self._aim(src, dst, self._third(src, dst), self.random.choice(opened), allowed=True)
        if closed and (oddity.may == AS_POLICY or not opened):
            yield self._aim(src, dst, self._third(src, dst), self.random.choice(closed), allowed=False)

    def _as_friend(self, src: Host, dst: Host, proto: str) -> Aim:
        """Pretending to be somebody who may, if anybody may."""
        others = [host for host in self.plan.hosts if host not in (src, dst)]
        self.random.shuffle(others)
        for other in others:
            opened, _ = self._between(other, dst, proto)
            if opened:
                return self._aim(src, dst, other, self.random.choice(opened), allowed=False)
        return self._aim(src, dst, others[0], TELNET, allowed=False)

    def _about(self, talk: Conversation, scope: str, may: str) -> Aim:
        ends = (talk.client, talk.server)
        sender, dst = ends if scope in (CLIENT, STRANGER_TO_SERVER) else ends[::-1]
        src = sender if scope in (CLIENT, SERVER) else self.plan.host("attacker")
        return self._aim(src, dst, sender, talk.port, allowed=may == AS_POLICY, known=talk)

    def _between(self, src: Host, dst: Host, proto: str) -> tuple[list[int], list[int]]:
        if (src, dst, proto) not in self._ports:
            self._ports[src, dst, proto] = ports(self.plan, self.rules, src, dst, proto)
        return self._ports[src, dst, proto]

    def _third(self, src: Host, dst: Host) -> Host:
        return self.random.choice([host for host in self.plan.hosts if host not in (src, dst)])

    def _aim(
        self, src: Host, dst: Host, other: Host, port: int, *, allowed: bool, known: Conversation | None = None
    ) -> Aim:
        token, sport = self.random.randbytes(TOKEN_BYTES), self.random.randrange(*SOURCE_PORTS)
        return Aim(src, dst, other, port, allowed, sport, token, known)
