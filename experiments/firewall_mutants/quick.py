"""The quick set: a few thousand probes that a policy and a plan suggest, asked of whatever flows there are.

It knows nothing of flows, mutants or proofs. All pairs of hosts, the ports that rules name and their neighbours; real
conversations with their answers and the errors about them; and frames that no host may send: under a false name or
address, tagged, to the wrong neighbour, of another kind than IPv4 and ARP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, permutations
from random import Random

from controllers.policy import ECHO_REQUEST, Rule, decide
from experiments.firewall_mutants import crafted
from experiments.firewall_mutants.crafted import BROADCAST, Forged, Talk
from experiments.firewall_mutants.probes import Probe
from topo.plan import Host, Plan

TIMESTAMP = 13
ETHERTYPES = {"IPv6": 0x86DD, "an unknown ethertype": 0x88B5, "LLDP": 0x88CC}
RANDOM_PORTS = 2
UNASSIGNED = "10.0.99.99"


def quick_set(plan: Plan, rules: Sequence[Rule], random: Random) -> tuple[Probe, ...]:
    """The probes; ``random`` draws ports that no rule names, and the forging hosts."""
    return tuple(Quick(plan, tuple(rules), random).probes())


class Quick:
    """One set in the making; each frame has an IP id of its own."""

    def __init__(self, plan: Plan, rules: tuple[Rule, ...], random: Random) -> None:
        self.plan = plan
        self.rules = rules
        self.random = random
        self.identity = count(1)
        self.ports = dict(_ports(rules, random))
        talks = [
            Talk(src, dst, proto, port)
            for src, dst in permutations(plan.hosts, 2)
            for proto, ports in self.ports.items()
            for port in ports
        ]
        self.talks = {talk: self._allowed(talk) for talk in talks}
        named = {(rule.proto, edge) for rule in rules for span in rule.ports or () for edge in span}
        named = named or {("tcp", 80), ("udp", 53), ("icmp", ECHO_REQUEST)}
        self.begun = [talk for talk, allowed in self.talks.items() if allowed and (talk.proto, talk.port) in named]

    def probes(self) -> Iterator[Probe]:
        for talk, allowed in self.talks.items():
            frame = crafted.spoken(talk, next(self.identity))
            yield Probe(str(talk), talk.src.name, frame, talk.dst.name if allowed else None)
        for talk in self.begun:
            yield from self._conversation(talk)
            yield from self._forged(talk)
        for src, dst in permutations(self.plan.hosts, 2):
            yield from self._error(src, dst)
            yield from self._arp(src, dst)
        for host in self.plan.hosts:
            yield from self._others(host)

    def _allowed(self, talk: Talk) -> bool:
        ruling = decide(self.rules, self.plan, talk.src.name, talk.dst.name, talk.proto, talk.port)
        return ruling.action == "allow"

    # --- conversations ---------------------------------------------------------------------------------------

    def _conversation(self, talk: Talk) -> Iterator[Probe]:
        """Its answer, what follows, and what only looks as if there were one."""
        src, dst, name = talk.src.name, talk.dst.name, str(talk)
        identity = self.identity
        if talk.proto == "tcp":
            first = crafted.spoken(talk, next(identity))
            onward = crafted.spoken(talk, next(identity), flags="A")
            yield Probe(f"{name}, the answer", None, first, src, after=name, by="answer")
            yield Probe(f"{name}, onward", src, onward, dst, turn=1, after=name, by="flow")
            begun = crafted.spoken(talk, next(identity), flags="SA", plus=1)
            yield Probe(f"{name}, SYN+ACK of no connection", src, begun, None)
        else:
            back = crafted.spoken(talk, next(identity), back=True)
            yield Probe(f"{name}, the answer", dst, back, src, turn=1, after=name)
            yield Probe(f"{name}, onward", src, crafted.spoken(talk, next(identity)), dst, turn=2, after=name)
        stray = crafted.spoken(talk, next(identity), flags="A", plus=2, back=True)
        yield Probe(f"{name}, an answer to nothing", dst, stray, None)

    def _error(self, src: Host, dst: Host) -> Iterator[Probe]:
        """ICMP errors for a host: about a conversation that every switch on the way knows, and about none."""
        name = f"{src.name} -> {dst.name}, an ICMP error"
        deciders = set(self.plan.policed_by(src.name, dst.name))
        known = [
            talk
            for talk in self.begun
            if dst in (talk.src, talk.dst) and deciders <= set(self.plan.policed_by(talk.src.name, talk.dst.name))
        ]
        own = [talk for talk in self.talks if dst == talk.src]
        if known:
            talk = min(known, key=lambda talk: talk.proto == "icmp")
            frame = crafted.error_about(talk, src, dst, next(self.identity))
            yield Probe(f"{name} about {talk}", src.name, frame, dst.name, turn=2, after=str(talk))
        if own:
            frame = crafted.error_about(own[0], src, dst, next(self.identity), plus=3)
            yield Probe(f"{name} about no conversation", src.name, frame, None)

    # --- frames that no host may send ----------------------------------------------------------------------------

    def _forged(self, talk: Talk) -> Iterator[Probe]:
        """A conversation that is allowed, under false names: by those nearest to its destination, if there are any."""
        src, dst, name = talk.src, talk.dst, str(talk)
        for other in self.plan.hosts:
            if other in (src, dst):
                continue
            forgeries: dict[str, tuple[Host, Forged]] = {
                "address": (other, {"eth_src": other.mac}),
                "address and MAC": (other, {}),
                "MAC": (src, {"eth_src": other.mac}),
            }
            for what, (sender, forged) in forgeries.items():
                frame = crafted.spoken(talk, next(self.identity), plus=3, forged=forged)
                whose = f"{other.name} as {src.name}" if sender == other else f"{src.name} as {other.name}"
                yield Probe(f"{name}, sent by {whose} ({what})", sender.name, frame, None)
        wrong = self.random.choice([host for host in self.plan.hosts if host not in (src, dst)])
        others: dict[str, Forged] = {
            "tagged": {"vlan": 5},
            "to all": {"eth_dst": BROADCAST},
            f"to {wrong.name}'s MAC": {"eth_dst": wrong.mac},
        }
        for what, forged in others.items():
            frame = crafted.spoken(talk, next(self.identity), plus=3, forged=forged)
            yield Probe(f"{name}, {what}", src.name, frame, None)

    def _arp(self, src: Host, dst: Host) -> Iterator[Probe]:
        name = f"{src.name} -> {dst.name}, ARP"
        yield Probe(f"{name} to all", src.name, crafted.arp(src, dst, operation=1), dst.name)
        yield Probe(name, src.name, crafted.arp(src, dst, forged={"eth_dst": dst.mac}), dst.name)
        yield Probe(f"{name}, tagged", src.name, crafted.arp(src, dst, forged={"vlan": 5}), None)
        for other in self.plan.hosts:
            if other in (src, dst):
                continue
            for what, forged in (
                ("address", {"spa": other.ip}),
                ("MAC", {"sha": other.mac}),
                ("sender", {"eth_src": other.mac}),
            ):
                yield Probe(f"{name} under {other.name}'s {what}", src.name, crafted.arp(src, dst, forged=forged), None)

    def _others(self, host: Host) -> Iterator[Probe]:
        (near, *_) = [other for other in self.plan.hosts if other != host]
        for what, kind in ETHERTYPES.items():
            yield Probe(f"{host.name}: {what}", host.name, crafted.other(host, near.mac, kind), None)
            yield Probe(f"{host.name}: {what}, to all", host.name, crafted.other(host, BROADCAST, kind), None)
        asked = crafted.arp(host, near, forged={"tpa": UNASSIGNED})
        yield Probe(f"{host.name}: ARP for an address that no host has", host.name, asked, None)
        claimed = crafted.arp(host, near, forged={"spa": _neighbour(host.ip)})
        yield Probe(f"{host.name}: ARP under an address that no host has", host.name, claimed, None)


def _ports(rules: Sequence[Rule], random: Random) -> Iterator[tuple[str, list[int]]]:
    """The ports that are tried of each protocol: those in rules, their neighbours, and some that no rule names."""
    named = {proto: _edges(rules, proto) for proto in ("tcp", "udp")}
    every = named["tcp"] | named["udp"]
    for proto in ("tcp", "udp"):
        neighbours = {port + step for port in named[proto] for step in (-1, 1)} & set(range(1, 65536))
        yield proto, sorted(every | neighbours | {random.randrange(1024, 65536) for _ in range(RANDOM_PORTS)})
    yield "icmp", [ECHO_REQUEST, TIMESTAMP]


def _edges(rules: Sequence[Rule], proto: str) -> set[int]:
    return {edge for rule in rules if rule.proto == proto for span in rule.ports or () for edge in span}


def _neighbour(ip: str) -> str:
    start, _, last = ip.rpartition(".")
    return f"{start}.{int(last) + 100}"
