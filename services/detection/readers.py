"""Readers of evidence: lines that reach the monitoring host, as contacts for the detectors that they concern.

A source is only ever what nobody else can be: the host whose address is bound to the switch's port that a packet came
by, or the one that completed a TCP handshake with the balancer, whose answers reach no other host. What a sender
chooses himself (a false address, a header) blames nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from services.detection.detection import Contact
from services.detection.detectors import Detectors
from services.detection.sequential import SequentialDetector
from services.site.routes import MESSAGE
from services.waf.refusal import SCANNERS
from topo.jsonlines import row_of
from topo.plan import APP, BALANCER, WEB, Plan

Weighed = tuple[SequentialDetector, Contact]
LOGIN = "/login"
#: answers that say: there is no such page, or no such request; and those of a log-in
MISSING, WRONG_PASSWORD, LOGGED_IN = frozenset((400, 403, 404, 405, 414, 431, 501)), 401, 303
#: what refuses packets before it is known whose they are; and the ports that kernels give to those who begin
UNBOUND, EPHEMERAL = frozenset(("spoofed", "fragment")), 32768
#: a word of a line, as long as it is evidence
LONGEST = 120


@dataclass(frozen=True)
class KnownHosts:
    """The plan, as far as sources are recognised by it. ``ports``: the host behind a port, by switch and port."""

    addresses: Mapping[str, str]
    ports: Mapping[tuple[str, int], str]

    @classmethod
    def of(cls, plan: Plan) -> KnownHosts:
        ends = [(end, plan.behind(end)) for switch in plan.switches for end, _ in plan.links_of(switch.name)]
        ports = {(end.node, end.port): hosts[0].name for end, hosts in ends if len(hosts) == 1}
        return cls({host.ip: host.name for host in plan.hosts}, ports)


class Readers:
    """Gives each line to the detectors that it concerns."""

    def __init__(self, detectors: Detectors, known: KnownHosts) -> None:
        self._detectors = detectors
        self._known = known
        self._hosts = frozenset(known.addresses.values())
        self._readers = {BALANCER: self._of_balancer, APP: self._of_application, WEB: self._of_refusal}

    def of_sample(self, line: bytes) -> Iterator[Weighed]:
        """A sample of a denied packet (controllers/denied.py). Of a spoofed one only the port is true."""
        row = row_of(line) or {}
        try:
            when, source, rule = float(row["time"]), str(row["src"]), row["rule"]
            if rule in UNBOUND:
                yield from self._of_spoofed(when, row)
            elif source in self._hosts and not _is_silent(rule, row["port"]):
                port = "" if row["port"] is None else f"/{row['port']}"
                yield self._detectors.scan, Contact(when, source, f"{row['proto']}{port} of {row['dst']}", True)
        except (KeyError, TypeError, ValueError):
            return

    def _of_spoofed(self, when: float, row: Mapping[str, Any]) -> Iterator[Weighed]:
        host = self._known.ports.get((row["switch"], row["in_port"]))
        claimed = str(row["src"])
        # a tag, or another protocol, is no false address
        if host and claimed != host and not str(row["proto"]).startswith("0x"):
            words = f"{row['proto']} under the address of {claimed}"
            yield self._detectors.spoofing, Contact(when, host, str(when), True, words=words)

    def of_stored(self, line: bytes) -> Iterator[Weighed]:
        """A line of the log store."""
        stored = row_of(line) or {}
        read = self._readers.get(str(stored.get("service", "")).rstrip(":"))
        row = row_of(str(stored.get("line", "")).encode(errors="replace")) if read else None
        if read and row:
            try:
                yield from read(row)
            except (KeyError, TypeError, ValueError, AttributeError):
                return

    def _of_balancer(self, row: Mapping[str, Any]) -> Iterator[Weighed]:
        """A request as HAProxy logs it; a connection that it only passes on says nothing."""
        host = self._known.addresses.get(str(row["client"]).rpartition(":")[0])
        if host is None:
            return
        when, status = float(row["time"]) / 1000, int(row["status"])
        mark = f"{row['client']} {row['time']} {row['request_id']}"  # what is no request has no id
        request, late = str(row["request"]), str(row["ending"]).startswith("c")
        path = _path(_target(request))
        words = f"{path} not whole in time" if late else ""
        yield self._detectors.slow, Contact(when, host, mark, late, words=words)
        if late:
            return
        yield self._detectors.scan, Contact(when, host, f"the site by {row['frontend']}", False)
        if status in MISSING or status < 400:
            yield self._detectors.probing, Contact(when, host, path, status in MISSING, words=f"{path} {status}")
        if status < 400 and ("?" in request or request.startswith("POST ")):
            yield self._detectors.refused, Contact(when, host, mark, False)

    def _of_application(self, row: Mapping[str, Any]) -> Iterator[Weighed]:
        """A log-in: the application alone knows its account."""
        host = self._known.addresses.get(_visitor(str(row["from"])))
        request, status = str(row["request"]), int(row["status"])
        is_login = request.startswith("POST ") and _path(_target(request)) == LOGIN
        if host is None or not is_login or status not in (WRONG_PASSWORD, LOGGED_IN):
            return
        when, failed, account = float(row["time"]), status == WRONG_PASSWORD, str(row.get("account", "-"))[:LONGEST]
        guess = Contact(when, host, str(row["request_id"]), failed, account, f"a wrong password for account {account}")
        yield self._detectors.brute_force, guess
        yield self._detectors.spraying, replace(guess, what=account, within="")

    def _of_refusal(self, row: Mapping[str, Any]) -> Iterator[Weighed]:
        """A request that the web application firewall refused (services/waf); nginx' own lines name no rule."""
        host = self._known.addresses.get(str(row.get("client", "")))
        if host and row.get("rule"):
            words = f"{row.get('message', '')} in {row.get('target', '')}"[:LONGEST]
            yield self._detectors.refused, Contact(float(row["time"]), host, _refused(row), True, words=words)


def _refused(row: Mapping[str, Any]) -> str:
    """The input that was refused. Of who says that he scans each request is one: only the name was judged. And people
    rewrite a text that was refused: it stays one, however it is sent."""
    if set(SCANNERS) & set(row["rule"]):
        return str(row["id"])
    rewritten = str(row["target"]).endswith(MESSAGE.name)
    return " ".join(str(row[key]) for key in ("path", "target", "rule", *(() if rewritten else ("matched",))))


def _is_silent(rule: str | None, port: int | None) -> bool:
    """True for samples that say nothing: of no rule; of the blocked, who are refused everything; and of late packets
    of connections that are gone, which go back to where those had begun."""
    return rule in (None, "block") or (rule == "invalid" and (port or 0) >= EPHEMERAL)


def _visitor(came_from: str) -> str:
    """The address that HAProxy has seen, to which nginx adds HAProxy's own; what a visitor makes up stands before."""
    return came_from.split(",")[-2:][0].strip()


def _target(request: str) -> str:
    """The second word of a request's first line; the whole line where it is none."""
    words = request.split(" ")
    return words[1] if len(words) == 3 else request


def _path(target: str) -> str:
    """Its path, without the arguments."""
    try:
        return urlsplit(target).path[:LONGEST] or "/"
    except ValueError:
        return target[:LONGEST]
