"""The attacks of ``detection``, as values: the programs that each runs on its hosts, and what it is known by. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.instruments import flood
from topo import plan as roles
from topo.errors import UsageError
from topo.plan import SITE, Host, Plan

SCAN, FLOOD, FORGED, SLOW, LOGIN, PROBING = "scan", "flood", "forged flood", "slow client", "log-ins", "probing"
WEB = "experiments.detection.webattacker"
#: by what a source shows enough of itself: so many different denied targets, or failures
DENIED, FAILURES = 4, 5
FLOOD_RATE, FLOOD_SECONDS = 2000, 8.0
CONNECTIONS = 150
Words = tuple[str, ...]


@dataclass(frozen=True)
class Attack:
    """``programs``: by host, each a command line whose first word is a program.

    ``kinds``: what an event may call it. ``whole``: targets, packets or attempts that it needs. ``seconds``: how long
    it goes on when nobody stops it. ``patience``: how long an event may take. ``captured``: what it sends is read from
    its link, not from its output. ``slow``: it takes minutes. ``lasting``: it goes on when it is blocked.
    """

    name: str
    family: str
    programs: Mapping[str, Words]
    kinds: tuple[str, ...]
    whole: int
    seconds: float = 8.0
    patience: float = 3.0
    captured: bool = False
    slow: bool = False
    lasting: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.programs)


def attacks(plan: Plan, victim: str) -> list[Attack]:
    """All of them; ``victim`` is the account whose password is guessed."""
    return [*scans(plan), *floods(plan), *slow_clients(plan), *log_ins(plan, victim), *probes(plan)]


def chosen(every: Sequence[Attack], which: str) -> list[Attack]:
    """``all`` of them, the ``quick`` ones, or those with one of some words (a,b) in their names.

    Raises UsageError for none.
    """
    found = [attack for attack in every if which == "all" or not attack.slow]
    if which not in ("all", "quick"):
        found = [attack for attack in every if any(word in attack.name for word in which.split(","))]
    if not found:
        raise UsageError(
            f"--attacks {which}: none is called so; there are: {', '.join(attack.name for attack in every)}"
        )
    return found


def needed(attack: Attack) -> set[str]:
    """The programs that must be installed."""
    return {words[0] for words in attack.programs.values()} - {sys.executable}


# --- scans ---------------------------------------------------------------------------------------------------------


def scans(plan: Plan) -> Iterator[Attack]:
    """Nmap's kinds, then its speeds."""
    balancer, server = plan.host_of(roles.BALANCER).ip, plan.hosts_of(roles.WEB)[0].ip
    others = [host.ip for host in plan.hosts if host.name != plan.host_of(roles.ATTACKER).name]
    zone = server.rpartition(".")[0]
    fast = ("-T4", "--max-retries", "1", "-p", "1-1000", balancer, server)
    yield _scan(plan, "nmap -sS", ("-Pn", "-sS", *fast), 2000)
    yield _scan(plan, "nmap -sT", ("-Pn", "-sT", *fast), 2000)
    yield _scan(plan, "nmap -sU", ("-Pn", "-sU", *fast), 2000)
    yield _scan(plan, "nmap -sX", ("-Pn", "-sX", *fast), 2000)
    yield _scan(plan, "ping sweep", ("-sn", "-PE", "--disable-arp-ping", *others), len(others))
    yield _scan(plan, "ARP sweep", ("-sn", f"{zone}.32-95"), 64)
    every = ("-Pn", "-sS", "-p-", "--min-rate", "2000", "--max-retries", "0", balancer)
    yield _scan(plan, "nmap -p-", every, 65_535)
    yield _scan(plan, "nmap -sS -T5", ("-Pn", "-sS", "-T5", "-p", "1-1000", server), 1000)
    yield _scan(plan, "nmap -sS -T3", ("-Pn", "-sS", "-T3", "-p", "1-1000", server), 1000)
    yield _scan(plan, "nmap -sS -T2", ("-Pn", "-sS", "-T2", "-p", "20-59", server), 40, seconds=12.0)
    crawling = ("-Pn", "-sS", "--scan-delay", "15s", "--max-retries", "0", "-p", "20-27", server)
    yield _scan(plan, "one probe every 15 s", crawling, 8, seconds=150.0, slow=True)


def _scan(plan: Plan, name: str, words: Words, whole: int, seconds: float = 8.0, *, slow: bool = False) -> Attack:
    programs = {plan.host_of(roles.ATTACKER).name: ("nmap", "-n", *words)}
    return Attack(name, SCAN, programs, ("scan",), whole, seconds, captured=True, slow=slow)


# --- floods --------------------------------------------------------------------------------------------------------


def floods(plan: Plan) -> Iterator[Attack]:
    """Each protocol under the attacker's own address, under any, and under the client's."""
    attacker, client = plan.host_of(roles.ATTACKER), plan.host_of(roles.CLIENT)
    balancer, resolver = plan.host_of(roles.BALANCER), plan.host_of(roles.RESOLVER)
    aims = (
        ("SYN", "tcp", balancer, plan.port(roles.BALANCER)),
        ("UDP", "udp", resolver, plan.port(roles.RESOLVER)),
        ("ICMP", "icmp", balancer, 0),
    )
    for name, protocol, target, port in aims:
        for words, src in (("", attacker.ip), (" as anybody", "random"), (" as client", client.ip)):
            forged = src != attacker.ip
            settings = flood_settings(attacker, target, src, protocol=protocol, port=port, rate=FLOOD_RATE)
            yield Attack(
                f"{name} flood{words}",
                FORGED if forged else FLOOD,
                {attacker.name: flood_words(settings)},
                ("spoofing", "flood") if forged else ("flood",),
                round(FLOOD_RATE * FLOOD_SECONDS),
                FLOOD_SECONDS,
                lasting=True,
            )


def flood_settings(sender: Host, target: Host, src: str, **more: Any) -> dict[str, Any]:
    """The settings of flood.py for packets out of a host's link."""
    ends = {"interface": sender.interface, "macs": (sender.mac, target.mac), "src": src, "dst": target.ip}
    return {**ends, **more}


def flood_words(settings: Mapping[str, Any]) -> Words:
    """The command line that sends it."""
    return (sys.executable, "-ISE", flood.__file__, json.dumps(settings))


# --- attacks on the site -------------------------------------------------------------------------------------------


def slow_clients(plan: Plan) -> Iterator[Attack]:
    """Connections that are held open by a byte a second. The balancer needs seconds to know them from a slow line."""
    for name, kind in (("slowloris", "headers"), ("slow POST", "body")):
        programs = {plan.host_of(roles.ATTACKER).name: _web(kind, connections=CONNECTIONS)}
        yield Attack(name, SLOW, programs, ("slow-client",), CONNECTIONS * 20, 20.0, patience=5.0)


def log_ins(plan: Plan, victim: str) -> Iterator[Attack]:
    """One account with many passwords; then one password with many accounts, from two hosts."""
    attacker, client = plan.host_of(roles.ATTACKER).name, plan.host_of(roles.CLIENT).name
    yield Attack("brute force", LOGIN, {attacker: _web("guess", name=victim)}, ("brute-force",), 1000, 12.0)
    both = {host: _web("spray", tag=host) for host in (attacker, client)}
    yield Attack("spraying, two hosts", LOGIN, both, ("spraying", "brute-force"), 1000, 15.0)


def probes(plan: Plan) -> Iterator[Attack]:
    """A list of what scanners of sites ask for; and such scanners, where they are installed."""
    attacker, site = plan.host_of(roles.ATTACKER).name, f"https://{SITE}"
    called = ("probing",)
    yield Attack("probing", PROBING, {attacker: _web("probe")}, called, 200, 12.0)
    words = ("sqlmap", "--batch", "--flush-session", "-u", f"{site}/messages?before=1", "--level", "3", "--risk", "2")
    for program in (words, ("nikto", "-nointeractive", "-ask", "no", "-host", site)):
        yield Attack(program[0], PROBING, {attacker: program}, called, 2000, 20.0, captured=True)


def _web(kind: str, **settings: Any) -> Words:
    return (sys.executable, "-m", WEB, kind, json.dumps(settings))
