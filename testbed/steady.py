"""The steady state: what must hold before anything is measured, and hold again afterwards.

Every service ready; every allow-rule passing; replication caught up, and the settings that it rests on as promised; the
site answered by name, over HTTPS, from each server; no overlay above the policy.
"""

from __future__ import annotations

import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.message
import dns.query

from controllers.policy import ECHO_REQUEST, Rule, decide, pairs
from services.failover import manager
from services.mariadb import mariadb
from testbed import databases
from testbed.core import TestbedCore
from testbed.namespaces import Inside
from topo import wait
from topo.errors import DeadlineError, FoobarError
from topo.plan import APP, CLIENT, DATABASE, MONITOR, PORTS, RESOLVER, SITE, Host, Plan

SECONDS, PAGE_SECONDS = 2.0, 5.0  # one look at a rule; one at a page
ANSWERED = (("udp", PORTS[RESOLVER]), ("icmp", ECHO_REQUEST))


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``seen`` is None when it is as it must be, else what was seen."""

    name: str
    seen: str | None

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "holds": self.seen is None, "seen": self.seen}


@dataclass(frozen=True)
class Steady:
    """One look at everything."""

    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """False too when nothing was looked at."""
        return bool(self.checks) and self.problems is None

    @property
    def problems(self) -> str | None:
        wrong = [f"{check.name}: {check.seen}" for check in self.checks if check.seen]
        return "; ".join(wrong) or None


def look(testbed: TestbedCore) -> Steady:
    """Look at everything once, side by side."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        looks = [pool.submit(_service, testbed, unit.service.id) for unit in testbed.supervisor.units]
        looks += [
            pool.submit(passes, rule, testbed.inside(src.name), src, dst)
            for rule in testbed.rules
            for src, dst in tried(rule, testbed.rules, testbed.plan)
        ]
        looks += [pool.submit(_settings, testbed, host.name) for host in testbed.plan.hosts_of(DATABASE)]
        replication = pool.submit(_replication, testbed)
        looks.append(pool.submit(_site, testbed))
        looks.append(pool.submit(_overlays, testbed))
        single = tuple(future.result() for future in looks)
        return Steady((*single, *replication.result(), *_failover(testbed)))


def _service(testbed: TestbedCore, service_id: str) -> Check:
    unit = testbed.supervisor.unit(service_id)
    if unit.state != "ready":
        return Check(service_id, ": ".join(filter(None, [unit.state, testbed.failures.get(service_id)])))
    return Check(service_id, unit.service.ready(unit.place))


def _overlays(testbed: TestbedCore) -> Check:
    """A temporary rule is no part of the design: while one stands, the testbed is not what it shall be."""
    return Check("no overlay", ", ".join(overlay.name for overlay in testbed.overlays.standing) or None)


def tried(rule: Rule, rules: tuple[Rule, ...], plan: Plan) -> list[tuple[Host, Host]]:
    """The pairs of hosts between which an allow-rule can be tried: those about which it decides.

    A range, or "anything goes" (the baseline), names nothing to try. Of UDP only a question to the DNS host, of ICMP
    only a ping is sure of an answer.
    """
    port = rule.port
    if rule.action != "allow" or not isinstance(port, int) or (rule.proto, port) not in (*ANSWERED, ("tcp", port)):
        return []
    return [
        (src, dst)
        for src, dst in pairs(rule, plan)
        if decide(rules, plan, src.name, dst.name, rule.proto, port) == rule
        and (rule.proto != "udp" or RESOLVER in dst.roles)
    ]


def passes(rule: Rule, inside: Inside, src: Host, dst: Host) -> Check:
    """Try a packet that the rule allows: it must get there, and an answer back."""
    name = f"rule {rule.name}: {src.name} -> {dst.name}"
    assert isinstance(rule.port, int)
    try:
        if rule.proto == "tcp":
            with suppress(ConnectionRefusedError):  # the host has answered; services are looked at besides
                inside.connect(rule.port, dst.ip, SECONDS * wait.patience()).close()
        elif rule.proto == "udp":
            _ask_dns(inside, dst.ip, rule.port)
        else:
            _ping(inside, dst.ip)
    except (OSError, dns.exception.DNSException, DeadlineError) as error:
        return Check(name, f"{rule.proto}/{rule.port}: {str(error) or type(error).__name__}")
    return Check(name, None)


def _ask_dns(inside: Inside, address: str, port: int) -> None:
    with inside.open_socket(socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        dns.query.udp(dns.message.make_query(SITE, "A"), address, SECONDS * wait.patience(), port, sock=datagrams)


def _ping(inside: Inside, address: str) -> None:
    result = inside.run(["ping", "-n", "-q", "-c", "1", "-W", f"{wait.patience():g}", address], seconds=SECONDS + 1)
    if result.returncode:
        raise ConnectionError("no echo reply")


def _replication(testbed: TestbedCore) -> list[Check]:
    """Every other server follows the primary, and has what it has; in a cluster all must be in their places."""
    try:
        primary = databases.primary(testbed)
    except FoobarError as error:
        return [Check("primary", str(error))]
    names = [host.name for host in testbed.plan.hosts_of(DATABASE) if testbed.profile.cluster or host.name != primary]
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda name: _replica(testbed, primary, name), names))


def _settings(testbed: TestbedCore, name: str) -> Check:
    """One SET GLOBAL by hand takes the promise away that no write is lost, and nothing else shows it."""
    service = testbed.supervisor.unit(f"{name}/{DATABASE}").service
    assert isinstance(service, mariadb.MariaDB)
    try:
        return Check(f"settings: {name}", service.broken_promises(testbed.inside(name)))
    except Exception as error:  # a database that cannot be asked is a look that failed, whatever the reason
        return Check(f"settings: {name}", str(error))


def _replica(testbed: TestbedCore, primary: str, name: str) -> Check:
    label = f"cluster: {name}" if testbed.profile.cluster else f"replication {primary} -> {name}"
    try:
        state = testbed.supervisor.unit(f"{name}/{DATABASE}").service
        assert isinstance(state, mariadb.MariaDB)
        if problem := state.joined(testbed.inside(name)):
            return Check(label, problem)
        ahead = mariadb.position(testbed.inside(primary))
        behind = mariadb.position(testbed.inside(name))
    except Exception as error:  # a database that cannot be asked is a look that failed, whatever the reason
        return Check(label, str(error))
    return Check(label, None if ahead == behind else f"at {behind or 'nothing'}, primary at {ahead}")


def _failover(testbed: TestbedCore) -> list[Check]:
    """The failover manager has nothing left to do: one primary, which the balancer knows and all others follow."""
    if not testbed.profile.managed:
        return []
    noted = manager.noted(testbed.inside(testbed.plan.host_of(MONITOR).name))
    return [Check("failover", None if noted.get("settled") else f"not settled: {noted}")]


def _site(testbed: TestbedCore) -> Check:
    """As many requests as servers: each must have answered (with ``--balance source`` one address always gets one)."""
    wanted = {host.name for host in testbed.plan.hosts_of(APP)}
    try:
        answered = Counter(servers_answering(testbed.inside(testbed.plan.host_of(CLIENT).name), len(wanted)))
    except (OSError, DeadlineError) as error:
        return Check(f"https://{SITE}/", str(error))
    enough = bool(answered) if testbed.profile.balance == "source" else set(answered) == wanted
    return Check(f"https://{SITE}/", None if enough else f"answered by {dict(answered) or 'no server'}")


def servers_answering(client: Inside, requests: int) -> list[str]:
    """The servers that answered some HTTPS requests by name, each request on a connection of its own.

    Where TLS is passed on, connections are balanced, not requests. Raises ConnectionError with curl's words.
    """
    outputs = [part for _ in range(requests) for part in ("-o", "/dev/null", f"https://{SITE}/")]
    separate = ["--http1.1", "-H", "Connection: close"]
    result = client.run(
        ["curl", "-sS", "--fail", "--max-time", f"{PAGE_SECONDS * wait.patience():g}", "-D", "-", *separate, *outputs],
        seconds=20,
    )
    if result.returncode:
        raise ConnectionError(result.stderr.strip() or f"curl exit status {result.returncode}")
    lines = [line.partition(":") for line in result.stdout.splitlines()]
    return [value.strip() for name, _, value in lines if name.lower() == "x-served-by"]
