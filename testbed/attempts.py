"""Attempts: packets sent to see whether what must work does: every allow-rule of the policy, and the site by name."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress

import dns.exception
import dns.message
import dns.query

from controllers.policy import ECHO_REQUEST, Rule, decide, pairs
from testbed.core import TestbedCore
from testbed.namespaces import Inside
from topo import wait
from topo.errors import DeadlineError
from topo.plan import APP, CLIENT, PORTS, RESOLVER, SITE, Host, Plan

#: a packet that gets no answer within this is lost, however long a look may take
LOST_SECONDS, SITE_SECONDS = 2.0, 5.0
OK = "200"
ANSWERED = (("udp", PORTS[RESOLVER]), ("icmp", ECHO_REQUEST))


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


def passes(rule: Rule, inside: Inside, dst: Host, seconds: float = LOST_SECONDS) -> str | None:
    """Try a packet that the rule allows: None when it got there, and an answer back; else what was seen."""
    assert isinstance(rule.port, int)
    patience = min(seconds, LOST_SECONDS * wait.patience())
    try:
        if rule.proto == "tcp":
            with suppress(ConnectionRefusedError):  # the host has answered; services are looked at besides
                inside.connect(rule.port, dst.ip, patience).close()
        elif rule.proto == "udp":
            _ask_dns(inside, dst.ip, rule.port, patience)
        else:
            _ping(inside, dst.ip, patience)
    except (OSError, dns.exception.DNSException, DeadlineError) as error:
        return f"{rule.proto}/{rule.port}: {str(error) or type(error).__name__}"
    return None


def _ask_dns(inside: Inside, address: str, port: int, seconds: float) -> None:
    with inside.open_socket(socket.SOCK_DGRAM) as datagrams:
        datagrams.setblocking(False)
        dns.query.udp(dns.message.make_query(SITE, "A"), address, seconds, port, sock=datagrams)


def _ping(inside: Inside, address: str, seconds: float) -> None:
    result = inside.run(["ping", "-n", "-q", "-c", "1", "-W", f"{seconds:g}", address], seconds=seconds + 1)
    if result.returncode:
        raise ConnectionError("no echo reply")


def site(testbed: TestbedCore, seconds: float = SITE_SECONDS) -> str | None:
    """As many requests as servers: each must have answered (with ``--balance source`` one address always gets one)."""
    wanted = {host.name for host in testbed.plan.hosts_of(APP)}
    client = testbed.inside(testbed.plan.host_of(CLIENT).name)
    try:
        answers = answered(client, len(wanted), min(seconds, SITE_SECONDS * wait.patience()))
    except (OSError, DeadlineError) as error:
        return str(error)
    if wrong := [f"{status} from {server or 'the balancer'}" for status, server in answers if status != OK]:
        return ", ".join(wrong)
    servers = Counter(server for _, server in answers)
    enough = bool(servers) if testbed.profile.balance == "source" else set(servers) == wanted
    return None if enough else f"answered by {dict(servers) or 'no server'}"


def answered(client: Inside, requests: int, seconds: float = SITE_SECONDS) -> list[tuple[str, str]]:
    """The answers to some HTTPS requests by name, each on a connection of its own: status, and the server's name.

    Where TLS is passed on, connections are balanced, not requests. Raises ConnectionError with curl's words.
    """
    outputs = [part for _ in range(requests) for part in ("-o", "/dev/null", f"https://{SITE}/")]
    # without --fail-early only the last request's failure would be told
    separate = ["--fail-early", "--http1.1", "-H", "Connection: close", "--max-time", f"{seconds:g}"]
    result = client.run(["curl", "-sS", "-D", "-", *separate, *outputs], seconds=4 * seconds)
    if result.returncode:
        raise ConnectionError(result.stderr.strip() or f"curl exit status {result.returncode}")
    return [_answer(head) for head in result.stdout.replace("\r", "").split("\n\n") if head.strip()]


def _answer(head: str) -> tuple[str, str]:
    status, *lines = head.strip().splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return status.split()[1], headers.get("x-served-by", "")
