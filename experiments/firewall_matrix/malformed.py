"""Malformed packets as values: how one is crafted, where it may arrive and why; its targets; and the rows of tries.

Well-formed packets of the same pairs are their control: where those are not seen, it proves nothing that malformed ones
are not seen either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

from controllers.policy import Rule, decide, pairs
from experiments.firewall_matrix.evidence import TryRow
from topo.plan import APP, ATTACKER, DATABASE, WEB, Host, Plan

# where it may arrive: nowhere; at its destination where the policy allows that conversation to begin; and a well-formed
# packet must arrive there
NEVER, AS_POLICY, MUST = "never", "as policy", "must"

# the targets it is tried on
PAIRS, ANY_PORT, PRETENDING = "pairs", "any port", "pretending"
STRANGER_TO_SERVER, STRANGER_TO_CLIENT, CLIENT, SERVER = "stranger to server", "stranger to client", "client", "server"

Pair: TypeAlias = tuple[Host, Host]
TOKEN_BYTES = 8
SOURCE_PORTS = (10_000, 20_000)  # below those that Linux gives to connections, and those of a sweep's probes
TELNET = 23


@dataclass(frozen=True)
class TcpConversation:
    """An established TCP connection: ``seq`` and ``ack`` are the next numbers of the client and of the server."""

    client: Host
    server: Host
    sport: int
    port: int
    seq: int
    ack: int


@dataclass(frozen=True)
class ProbeTarget:
    """One try: the real sender, the destination, its TCP or UDP port, and whether the policy allows that.

    ``other``: the host that it may pretend to be. ``token``: 8 random bytes of this try alone. ``known``: a
    conversation that both or one of them has.
    """

    src: Host
    dst: Host
    other: Host
    port: int
    allowed: bool
    sport: int
    token: bytes
    known: TcpConversation | None = None


@dataclass(frozen=True)
class CraftedFrame:
    """One frame, and bytes in it that nothing else has, unless it quotes the frame; None: it is not looked for."""

    frame: bytes
    sign: bytes | None

    def __post_init__(self) -> None:
        if self.sign is not None and (len(self.sign) < 8 or self.sign not in self.frame):
            raise ValueError("a frame that could not be recognised")


Craft: TypeAlias = Callable[[ProbeTarget], tuple[CraftedFrame, ...]]


@dataclass(frozen=True)
class CraftedPacket:
    """A kind of packet. ``scope``: the targets that it is tried on; ``proto``: their ports are TCP's or UDP's."""

    name: str
    may: str
    why: str
    craft: Craft
    scope: str = PAIRS
    proto: str = "tcp"


# --- targets -------------------------------------------------------------------------------------------------------


def sampled(plan: Plan, rules: tuple[Rule, ...], random: Random, more: int = 4) -> list[Pair]:
    """The attacker to all, every server to the attacker, one pair for each way that the policy opens, and some more."""
    attacker = plan.host_of(ATTACKER)
    servers = dict.fromkeys(host for role in (WEB, APP, DATABASE) for host in plan.hosts_of(role))
    others = [host for host in plan.hosts if host != attacker]
    chosen = [(attacker, host) for host in others] + [(server, attacker) for server in servers]
    for rule in rules:
        open_pairs = list(pairs(rule, plan))
        if open_pairs and rule.action == "allow" and rule.proto in ("tcp", "udp"):
            chosen.append(random.choice(open_pairs))
    every = [(src, dst) for src in plan.hosts for dst in plan.hosts if src != dst]
    return list(dict.fromkeys([*chosen, *random.sample(every, min(more, len(every)))]))


def ports(plan: Plan, rules: tuple[Rule, ...], src: Host, dst: Host, proto: str) -> tuple[list[int], list[int]]:
    """Ports that the policy opens between two hosts, and ports that it does not: those in rules, and the next ones."""
    named = {port for rule in rules if rule.proto == proto for span in rule.ports or () for port in span}
    near = {port + step for port in named for step in (-1, 1)}
    tried = sorted(port for port in {*named, *near, TELNET} if 0 < port < 65536)
    opened = [port for port in tried if decide(rules, plan, src.name, dst.name, proto, port).action == "allow"]
    return opened, [port for port in tried if port not in opened]


def talks(plan: Plan, rules: tuple[Rule, ...], random: Random) -> list[tuple[Host, Host, int]]:
    """Conversations to have: one that no server's firewall sees, and one that one does. Client, server, TCP port.

    None with a database: it counts clients that hang up on it, and shuts them out.
    """
    ways = [
        (src, dst, rule.ports[0][0])
        for rule in rules
        if rule.action == "allow" and rule.proto == "tcp" and rule.ports and rule.ports[0][0] != plan.port(DATABASE)
        for src, dst in pairs(rule, plan)
    ]
    guarded = [way for way in ways if any(plan.switch(name).guards for name in plan.policed_by(*_names(way)))]
    free = [way for way in ways if way not in guarded and plan.host_of(ATTACKER) not in way[:2]]
    return [random.choice(group) for group in (free, guarded) if group]


def _names(way: tuple[Host, Host, int]) -> tuple[str, str]:
    return way[0].name, way[1].name


@dataclass(frozen=True)
class Targets:
    """The pairs and the conversations of one run, under one policy."""

    plan: Plan
    rules: tuple[Rule, ...]
    random: Random
    pairs: Sequence[Pair]
    known: Sequence[TcpConversation]
    _ports: dict[tuple[Host, Host, str], tuple[list[int], list[int]]] = field(default_factory=dict)

    def of(self, packet: CraftedPacket) -> Iterator[ProbeTarget]:
        """All targets that a packet is tried on."""
        if packet.scope == PAIRS:
            for src, dst in self.pairs:
                yield from self._at(src, dst, packet)
        elif packet.scope == ANY_PORT:
            for src, dst in self.pairs:
                yield self._target(src, dst, self._third(src, dst), 0, allowed=True)
        elif packet.scope == PRETENDING:
            for src, dst in self.pairs:
                yield self._as_friend(src, dst, packet.proto)
        else:
            for talk in self.known:
                yield self._about(talk, packet.scope, packet.may)

    def _at(self, src: Host, dst: Host, packet: CraftedPacket) -> Iterator[ProbeTarget]:
        """An open and a closed port; for what must never arrive, an open one if there is one."""
        opened, closed = self._between(src, dst, packet.proto)
        if opened:
            yield self._target(src, dst, self._third(src, dst), self.random.choice(opened), allowed=True)
        if closed and (packet.may == AS_POLICY or not opened):
            yield self._target(src, dst, self._third(src, dst), self.random.choice(closed), allowed=False)

    def _as_friend(self, src: Host, dst: Host, proto: str) -> ProbeTarget:
        """Pretending to be a host that may, if there is any."""
        others = [host for host in self.plan.hosts if host not in (src, dst)]
        self.random.shuffle(others)
        for other in others:
            opened, _ = self._between(other, dst, proto)
            if opened:
                return self._target(src, dst, other, self.random.choice(opened), allowed=False)
        return self._target(src, dst, others[0], TELNET, allowed=False)

    def _about(self, talk: TcpConversation, scope: str, may: str) -> ProbeTarget:
        ends = (talk.client, talk.server)
        sender, dst = ends if scope in (CLIENT, STRANGER_TO_SERVER) else ends[::-1]
        src = sender if scope in (CLIENT, SERVER) else self.plan.host_of(ATTACKER)
        return self._target(src, dst, sender, talk.port, allowed=may == AS_POLICY, known=talk)

    def _between(self, src: Host, dst: Host, proto: str) -> tuple[list[int], list[int]]:
        if (src, dst, proto) not in self._ports:
            self._ports[src, dst, proto] = ports(self.plan, self.rules, src, dst, proto)
        return self._ports[src, dst, proto]

    def _third(self, src: Host, dst: Host) -> Host:
        return self.random.choice([host for host in self.plan.hosts if host not in (src, dst)])

    def _target(
        self, src: Host, dst: Host, other: Host, port: int, *, allowed: bool, known: TcpConversation | None = None
    ) -> ProbeTarget:
        token, sport = self.random.randbytes(TOKEN_BYTES), self.random.randrange(*SOURCE_PORTS)
        return ProbeTarget(src, dst, other, port, allowed, sport, token, known)


# --- tries, judged from their rows alone ----------------------------------------------------------------------------


def contradictions(tries: Sequence[TryRow]) -> list[dict[str, Any]]:
    """The tries that contradict the policy: {"packet", "src", "dst", "port", "arrived", "says"}."""
    shown = ("packet", "src", "dst", "port", "arrived")
    return [
        {**{key: row[key] for key in shown}, "says": f"{says}: {row['why']}"}  # type: ignore[literal-required]
        for row in tries
        if (says := _contradiction(row)) is not None
    ]


def _contradiction(row: TryRow) -> str | None:
    if strangers := [host for host in row["arrived"] if host != row["dst"]]:
        return f"it was seen at {', '.join(strangers)}, whom it was not for"
    if not row["arrived"] or may_arrive(row):
        return None
    return "it may never arrive" if row["may"] == NEVER else "the policy does not allow that conversation"


def inconclusive(tries: Sequence[TryRow]) -> list[str]:
    """The reason why a packet's absence proves nothing, in words; empty when all well-formed packets were seen."""
    if not tries:
        return ["no malformed packet was sent"]
    missing = [f"{row['src']} -> {row['dst']}: {row['packet']} did not arrive" for row in tries if _missing(row)]
    lossy = sorted({host for row in tries for host in row["inconclusive"]})
    well_formed = [row for row in tries if row["may"] == MUST]
    uncontrolled = sorted(
        f"{src} -> {dst}: nothing well-formed was sent" for src, dst in _pairs(tries) - _pairs(well_formed)
    )
    return [*(f"the capture at {host} lost packets" for host in lossy), *missing, *uncontrolled]


def may_arrive(row: TryRow) -> bool:
    """May the packet reach its destination?"""
    return row["may"] != NEVER and row["allowed"]


def _missing(row: TryRow) -> bool:
    return row["may"] == MUST and row["allowed"] and not row["arrived"].get(row["dst"])


def _pairs(tries: Iterable[TryRow]) -> set[tuple[str, str]]:
    return {(row["src"], row["dst"]) for row in tries}
