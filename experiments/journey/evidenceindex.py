"""A journey's evidence, with questions asked of it: which frame, which line of which log, which statement was this?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from experiments.journey.evidence import JourneyEvidence

Row: TypeAlias = Mapping[str, Any]
Wanted: TypeAlias = Callable[[Row], bool]


class Unseen(LookupError):
    """Something a step needs is not in the evidence."""


class EvidenceIndex:
    """The evidence, with questions asked of it. A question without an answer raises Unseen."""

    def __init__(self, evidence: JourneyEvidence) -> None:
        self.evidence = evidence
        self.site: str = evidence.site
        self.tls = evidence.tls
        self.client, self.resolver, self.balancer = evidence.client, evidence.resolver, evidence.balancer
        self.primary: str = evidence.primary
        self.group_port: int | None = evidence.group_port
        self.requests: Sequence[Row] = evidence.visit["requests"]
        self.hosts: Mapping[str, str] = evidence.hosts
        self.firewalls: Mapping[str, str] = evidence.firewalls
        self.post = self._request("POST", lambda request: request["url"].endswith("/messages"))
        self.shown = self._request("GET", lambda request: bool(request["page"]))
        self.server = str(self.shown["server"])

    def _request(self, method: str, wanted: Wanted) -> Row:
        """The visit's last request of a kind."""
        requests = [request for request in self.requests if request["method"] == method and wanted(request)]
        if not requests:
            raise Unseen(f"no {method} request in the visit")
        return requests[-1]

    def frames(self, link: str, wanted: Wanted) -> list[Row]:
        return [row for row in self.evidence.frames if row["link"] == link and wanted(row)]

    def frame(self, link: str, what: str, wanted: Wanted) -> Row:
        """The first such frame of a link."""
        matching = self.frames(link, wanted)
        if not matching:
            raise Unseen(f"no {what} on the link {link}")
        return matching[0]

    def log(self, service: str) -> Row:
        """A service's log line about the followed page; where TLS is passed on, the balancer's about its connection."""
        lines: Sequence[Row] = self.evidence.logs
        blind = service == "haproxy" and self.tls["passthrough"]
        field, value = ("client", self.shown["from"]) if blind else ("request_id", self.shown["request_id"])
        for row in lines:
            if row["service"] == service and row["data"].get(field) == value:
                return row
        raise Unseen(f"no line about the request in {service}'s log")

    def statement(self, host: str, request: Row, word: str) -> Row:
        """A request's last SQL statement with a word in it, as a database wrote it down."""
        rows: Sequence[Row] = self.evidence.sql
        mark = f"req={request['request_id']} "
        statements = [row for row in rows if row["host"] == host and mark in row["sql"] and word in row["sql"]]
        if not statements:
            raise Unseen(f"no {word} of the request on {host}")
        return statements[-1]

    def host_of(self, end: str) -> str:
        """The host that an ``address:port`` belongs to."""
        address = end.rpartition(":")[0]
        return next((name for name, ip in self.hosts.items() if ip == address), address)

    def rose(self, switch: str, rule: str) -> int:
        """By how many packets a rule's counter on a switch rose during the visit."""
        counters = self.evidence.counters
        return int(counters["after"][switch].get(rule, 0)) - int(counters["before"][switch].get(rule, 0))

    def secret(self, wanted: Wanted, *links: str) -> bool | None:
        """Can none of the visit's marks be read in such frames of these links? None: a capture is inconclusive."""
        if any(self.frames(link, lambda row: bool(row["marks"]) and wanted(row)) for link in links):
            return False
        blind = {capture["link"] for capture in self.evidence.captures if capture["dropped"] != 0}
        return None if blind & set(links) else True

    def encrypted(self, sent: Row) -> bool | None:
        """Was a request from the balancer, with all else of its connection, unreadable on the way?"""
        if not self.tls["backend_tls"]:
            return False
        return self.secret(
            lambda row: {row["src"], row["dst"]} == {sent["src"], sent["dst"]}, self.balancer, self.server
        )

    def kept_secret(self, sent: Row) -> bool | None:
        """Is it encrypted where it is to be? True where it is not to be."""
        return self.encrypted(sent) if self.tls["backend_tls"] else True

    # the followed page's request and answer, where they pass

    def dns(self, link: str, *, answers: bool) -> Row:
        return self.frame(
            link,
            f"DNS {'answer' if answers else 'question'} for {self.site}",
            lambda row: (
                row["says"].get("kind") == "dns"
                and row["says"]["text"] == f"A {self.site}"
                and (row["says"]["answer"] is not None) == answers
            ),
        )

    def forwarded(self, link: str) -> Row:
        """The request on its way from the balancer to nginx; encrypted, the first data of its connection meanwhile."""
        if not self.tls["backend_tls"]:
            return self.frame(
                link,
                "request from the balancer",
                lambda row: self._asks(row) and self.host_of(row["src"]) == self.balancer,
            )
        line = self.log("haproxy")["data"]
        return self.frame(
            link,
            "encrypted request from the balancer",
            lambda row: (
                (row["src"], row["dst"]) == (line["from"], line["to"])
                and is_tls_data(row)
                and is_during(self.shown, row)
            ),
        )

    @cached_property
    def asked_application(self) -> Row:
        """The request on its way from nginx to the application."""
        port = f":{self.evidence.app_port}"
        return self.frame(
            f"{self.server}-lo", "request to the application", lambda row: self._asks(row) and row["dst"].endswith(port)
        )

    def _asks(self, row: Row) -> bool:
        return row["says"].get("kind") == "http" and self.shown["request_id"] in row["marks"]

    def answered(self, request: Row) -> Row:
        """The first frame of a request's answer: same connection, other direction, later. Encrypted, its last one."""
        if is_tls_data(request):
            return self._answered_in_tls(request)
        return self.frame(
            request["link"],
            "HTTP answer",
            lambda row: (
                row["says"].get("kind") == "http"
                and (row["src"], row["dst"]) == (request["dst"], request["src"])
                and row["time"] >= request["time"]
            ),
        )

    def _answered_in_tls(self, request: Row) -> Row:
        """A connection's first data may belong to its handshake; the last before the browser had all is the answer."""
        matching = self.frames(
            request["link"],
            lambda row: (
                is_tls_data(row)
                and (row["src"], row["dst"]) == (request["dst"], request["src"])
                and row["time"] >= request["time"]
                and is_during(self.shown, row)
            ),
        )
        if not matching:
            raise Unseen(f"no encrypted answer on the link {request['link']}")
        return matching[-1]


def is_tls_data(row: Row) -> bool:
    """Does a frame carry what TLS encrypts (or the rest of a longer record)?"""
    return str(row["says"].get("text", "")).startswith("application data")


def is_during(request: Row, row: Row) -> bool:
    """Did a frame pass between a request's start and its end, as the browser measured them?"""
    return bool(request["time"] <= row["time"] <= request["time"] + request["ms"] / 1000)
