"""The 13 steps of the write-up, each a pure function from the journey's evidence to what was seen of it.

Two requests of the visit are followed: the message being posted, and the page that shows it afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Evidence = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Proof:
    """Where to look: a frame of a capture, a line of a log, or a field of the evidence."""

    where: str
    number: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.where}#{self.number}" if self.number is not None else self.where


@dataclass(frozen=True)
class Step:
    """One step. ``at``: seconds since the epoch; ``ms``: its duration; ``encrypted``: None where no link is used."""

    number: int
    title: str
    who: str
    whom: str
    holds: bool | None
    seen: str
    proofs: tuple[Proof, ...] = ()
    at: float | None = None
    ms: float | None = None
    encrypted: bool | None = None


class Trail:
    """The evidence, with questions asked of it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.requests: Sequence[Row] = evidence["visit"]["requests"]
        self.hosts: Mapping[str, str] = evidence["hosts"]
        self.post = next(
            each for each in self.requests if each["method"] == "POST" and each["url"].endswith("/messages")
        )
        self.shown = next(each for each in reversed(self.requests) if each["page"] and each["method"] == "GET")
        self.blind = [capture["link"] for capture in evidence["captures"] if capture["dropped"] != 0]

    def frames(self, link: str, wanted: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self.evidence["frames"] if row["link"] == link and wanted(row)]

    def log(self, service: str, request_id: str) -> Row | None:
        rows = (row for row in self.evidence["logs"] if row["service"] == service)
        return next((row for row in rows if row["data"].get("request_id") == request_id), None)

    def sql(self, request_id: str, word: str) -> list[Row]:
        return [
            row for row in self.evidence["sql"] if f"req={request_id} " in row["sql"] and word in row["sql"].upper()
        ]

    def host_of(self, end: str) -> str:
        """The host that an ``address:port`` belongs to."""
        address = end.rpartition(":")[0]
        return next((name for name, ip in self.hosts.items() if ip == address), address)

    def rose(self, switch: str, rule: str) -> int:
        counters = self.evidence["counters"]
        return int(counters["after"][switch].get(rule, 0)) - int(counters["before"][switch].get(rule, 0))

    def answered(self, link: str, request: Row) -> Row | None:
        """The first frame of the answer: same connection, other direction, after the request."""
        replies = self.frames(
            link,
            lambda row: (
                row["src"] == request["dst"]
                and row["dst"] == request["src"]
                and row["time"] >= request["time"]
                and row["says"].get("kind") == "http"
            ),
        )
        return replies[0] if replies else None

    def readable(self, link: str, wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
        """Frames of a link in which the visit's secrets or request ids can be read as plain text."""
        return self.frames(link, lambda row: bool(row["marks"]) and wanted(row))


def steps(evidence: Evidence) -> tuple[Step, ...]:
    """All 13, in order."""
    trail = Trail(evidence)
    return tuple(step(trail) for step in ALL)


def _frame(row: Row) -> Proof:
    text = row["says"].get("text") or f"{row['proto']} {row['flags']} {row['bytes']} bytes".replace("  ", " ")
    return Proof(row["file"], row["frame"], text)


def _line(row: Row, what: str) -> Proof:
    return Proof(row["file"], row["line"], what)


def _record(request: Row, what: str) -> Proof:
    return Proof("evidence.json", None, f"visit: {request['method']} {request['url']}: {what}")


def _unseen(number: int, title: str, who: str, whom: str, missing: str) -> Step:
    return Step(number, title, who, whom, None, missing)


def _types_the_address(trail: Trail) -> Step:
    title, first = "the user asks for the website", trail.requests[0]
    return Step(
        1,
        title,
        "user",
        "browser",
        first["url"] == f"https://{trail.evidence['site']}/",
        first["url"],
        (_record(first, "asked"),),
        first["time"],
    )


def _asks_dns(trail: Trail) -> Step:
    title = "the computer asks DNS for the name"
    asked = [row for link in ("client", "dns") for row in _dns(trail, link) if row["says"]["answer"] is None]
    if len({row["link"] for row in asked}) < 2:
        return _unseen(2, title, "client", "dns", f"no question for {trail.evidence['site']} on both links")
    first = min(asked, key=lambda row: row["time"])
    return Step(
        2,
        title,
        "client",
        "dns",
        True,
        f"A {trail.evidence['site']}?",
        _first_of_each_link(asked),
        first["time"],
        _ms_between(first, max(asked, key=lambda row: row["time"])) if len(asked) == 2 else None,
        False,
    )


def _dns_answers(trail: Trail) -> Step:
    title = "DNS returns the balancer's address"
    answers = [row for row in _dns(trail, "client") if row["says"]["answer"] is not None]
    if not answers:
        return _unseen(3, title, "dns", "client", "no answer on the client's link")
    asked = next((row for row in _dns(trail, "client") if row["says"]["answer"] is None), answers[0])
    told = answers[0]["says"]["answer"]
    return Step(
        3,
        title,
        "dns",
        "client",
        told == [trail.hosts["lb"]],
        f"{trail.evidence['site']} is {', '.join(told) or '?'}",
        (_frame(answers[0]),),
        answers[0]["time"],
        _ms_between(asked, answers[0]),
        False,
    )


def _dns(trail: Trail, link: str) -> list[Row]:
    question = f"A {trail.evidence['site']}"
    return trail.frames(link, lambda row: row["says"].get("kind") == "dns" and row["says"]["text"] == question)


def _sends_https(trail: Trail) -> Step:
    title, end = "the computer sends an HTTPS request to the balancer", trail.shown["from"]
    sent = trail.frames("client", lambda row: row["src"] == end and row["dst"] == trail.shown["to"])
    hello = [row for row in sent if row["says"].get("text") == "ClientHello"]
    data = [row for row in sent if row["says"].get("text", "").startswith("application data")]
    if not hello or not data or trail.host_of(trail.shown["to"]) != "lb":
        return _unseen(4, title, "client", "lb", "no TLS connection from the client to the balancer")
    opened = next((row for row in sent if "S" in row["flags"]), hello[0])
    leaked = trail.readable("client", lambda row: row["src"] == end)
    seen = f"{len(data)} encrypted packets" if not leaked else f"readable: {', '.join(leaked[0]['marks'])}"
    return Step(
        4,
        title,
        "client",
        "lb",
        not leaked,
        seen,
        (_frame(opened), _frame(hello[0]), _frame(data[0])),
        opened["time"],
        _ms_between(opened, data[0]),
        not leaked,
    )


def _ends_tls(trail: Trail) -> Step:
    title, line = (
        "the balancer ends TLS with the site's certificate",
        trail.log("haproxy", trail.shown["request_id"]),
    )
    certificate = trail.shown["tls"]
    plain = trail.readable("lb", lambda row: trail.shown["request_id"] in row["marks"])
    if line is None or certificate is None or not plain:
        return _unseen(
            5, title, "lb", "lb", "no log line of the balancer, or the request is readable nowhere behind it"
        )
    right = certificate["subject"] == trail.evidence["site"]
    seen = f"{line['data']['tls']}, {line['data']['cipher']}"
    seen += f", certificate for {certificate['subject']} by {certificate['issuer']}"
    proofs = (_line(line, "TLS version and cipher"), _record(trail.shown, "certificate"), _frame(plain[0]))
    return Step(5, title, "lb", "lb", right, seen, proofs, trail.shown["time"])


def _forwards(trail: Trail) -> Step:
    title, line = (
        "the balancer forwards the decrypted request to one nginx",
        trail.log("haproxy", trail.shown["request_id"]),
    )
    sent = _forwarded(trail, "lb")
    if line is None or sent is None:
        return _unseen(6, title, "lb", "nginx", "the request was not seen leaving the balancer")
    server = trail.host_of(sent["dst"])
    share = Counter(request["server"] for request in trail.requests if request["server"])
    shares = ", ".join(f"{name} {count}" for name, count in sorted(share.items()))
    return Step(
        6,
        title,
        "lb",
        server,
        line["data"]["server"] == server,
        f"to {server}, by {trail.evidence['balance']}; in this visit: {shares}",
        (_frame(sent), _line(line, f"server {line['data']['server']}")),
        sent["time"],
        float(line["data"]["ms"]["connect"]),
        False,
    )


def _forwarded(trail: Trail, link: str) -> Row | None:
    """The followed page's request on its way from the balancer to nginx, as seen on a link."""
    rows = trail.frames(
        link,
        lambda row: (
            trail.shown["request_id"] in row["marks"]
            and row["says"].get("kind") == "http"
            and trail.host_of(row["src"]) == "lb"
        ),
    )
    return rows[0] if rows else None


def _passes_the_firewall(trail: Trail) -> Step:
    title, outside = "nginx receives it through the firewall", _forwarded(trail, "lb")
    server = trail.shown["server"] or ""
    firewall = trail.evidence["firewalls"].get(server, "?")
    inside, line = _forwarded(trail, server), trail.log("nginx", trail.shown["request_id"])
    if outside is None or inside is None or line is None:
        return _unseen(7, title, firewall, server, f"not seen on both sides of {firewall}, or not in nginx's log")
    rose = trail.rose(firewall, "web")
    allowed = f"rule web allowed {rose} packets" if rose else "its rule web counted nothing: no firewall decided this"
    proofs = (
        _frame(outside),
        _frame(inside),
        _line(line, "nginx took it"),
        Proof(f"counters.{firewall}.web", rose, allowed),
    )
    return Step(
        7,
        title,
        firewall,
        server,
        rose > 0 or None,
        f"{firewall}: {allowed}",
        proofs,
        inside["time"],
        _ms_between(outside, inside),
        False,
    )


def _reaches_the_application(trail: Trail) -> Step:
    title, server = "nginx passes it to the application server", trail.shown["server"] or ""
    asked, line = _asked_application(trail), trail.log("app", trail.shown["request_id"])
    if asked is None or line is None:
        return _unseen(8, title, "nginx", "app", f"not seen on {server}'s loopback, or not in the application's log")
    took = float(line["data"]["seconds"]) * 1000
    proofs = (_frame(asked), _line(line, line["data"]["request"]))
    return Step(
        8,
        title,
        f"nginx ({server})",
        f"app ({server})",
        True,
        line["data"]["request"],
        proofs,
        asked["time"],
        took,
        False,
    )


def _asked_application(trail: Trail) -> Row | None:
    rows = trail.frames(
        f"{trail.shown['server']}-lo",
        lambda row: (
            trail.shown["request_id"] in row["marks"]
            and row["dst"].endswith(f":{trail.evidence['app_port']}")
            and row["says"].get("kind") == "http"
        ),
    )
    return rows[0] if rows else None


def _asks_the_database(trail: Trail) -> Step:
    title, primary = "the application asks the database: primary and replicas", trail.evidence["primary"]
    reads = [row for row in trail.sql(trail.shown["request_id"], "SELECT") if row["host"] == trail.shown["server"]]
    writes = [row for row in trail.sql(trail.post["request_id"], "INSERT") if row["host"] == primary]
    on_wire = _readable_to_database(trail, primary)
    replicas = [server for server in trail.evidence["firewalls"] if server != primary]
    copied = {replica: _replicated(trail, replica, primary) for replica in replicas}
    missing = [replica for replica, row in copied.items() if row is None]
    if not reads or not writes or on_wire is None or missing:
        lacks = ["the read", "the write", "the write on the wire"]
        there = (reads, writes, on_wire)
        names = [name for name, found in zip(lacks, there, strict=True) if not found] + [
            f"replication to {name}" for name in missing
        ]
        return _unseen(9, title, "app", "database", f"not seen: {', '.join(names)}")
    proofs = (
        _line(reads[-1], reads[-1]["sql"]),
        _line(writes[-1], writes[-1]["sql"]),
        _frame(on_wire),
        *(_frame(row) for row in copied.values() if row is not None),
    )
    last = max((row for row in copied.values() if row is not None), key=lambda row: row["time"], default=on_wire)
    seen = f"read on {trail.shown['server']}; written on {primary}; copied to {', '.join(replicas) or 'nobody'}"
    return Step(
        9,
        title,
        f"app ({trail.shown['server']})",
        "database",
        True,
        seen,
        proofs,
        on_wire["time"],
        _ms_between(on_wire, last),
        False,
    )


def _readable_to_database(trail: Trail, primary: str) -> Row | None:
    """The posted message in a statement on the link of the server that the primary runs on."""
    to_primary = trail.frames(
        primary,
        lambda row: (
            "message" in row["marks"]
            and row["dst"].endswith(":3306")
            and trail.host_of(row["dst"]) == primary
            and trail.host_of(row["src"]) == "lb"
        ),
    )
    return to_primary[0] if to_primary else None


def _replicated(trail: Trail, replica: str, primary: str) -> Row | None:
    """The posted message in the primary's binary log on its way to a replica."""
    rows = trail.frames(
        replica,
        lambda row: (
            "message" in row["marks"]
            and row["src"].endswith(":3306")
            and trail.host_of(row["src"]) == primary
            and trail.host_of(row["dst"]) == replica
        ),
    )
    return rows[0] if rows else None


def _answer_goes_back(trail: Trail) -> Step:
    title, server = "the answer goes back to nginx and to the balancer", trail.shown["server"] or ""
    asked, sent = _asked_application(trail), _forwarded(trail, "lb")
    from_app = trail.answered(f"{server}-lo", asked) if asked else None
    from_nginx = trail.answered("lb", sent) if sent else None
    if from_app is None or from_nginx is None or sent is None:
        return _unseen(10, title, f"app ({server})", "lb", "no answer seen on the loopback and on the balancer's link")
    seen = f"{from_app['says']['text']} from the application, {from_nginx['says']['text']} from nginx"
    ok = all(" 200" in row["says"]["text"] for row in (from_app, from_nginx))
    return Step(
        10,
        title,
        f"app ({server})",
        "lb",
        ok,
        seen,
        (_frame(from_app), _frame(from_nginx)),
        from_nginx["time"],
        _ms_between(sent, from_nginx),
        False,
    )


def _encrypts_the_answer(trail: Trail) -> Step:
    title, sent = "the balancer encrypts the answer and sends it", _forwarded(trail, "lb")
    answer = trail.answered("lb", sent) if sent else None
    line = trail.log("haproxy", trail.shown["request_id"])
    if answer is None or line is None:
        return _unseen(11, title, "lb", "client", "no answer that could have been encrypted")
    data = trail.frames(
        "client",
        lambda row: (
            row["src"] == trail.shown["to"]
            and row["dst"] == trail.shown["from"]
            and row["time"] >= answer["time"]
            and row["says"].get("kind") == "tls"
        ),
    )
    if not data:
        return _unseen(11, title, "lb", "client", "no TLS data to the client after nginx's answer")
    leaked = trail.readable("client", lambda row: row["dst"] == trail.shown["from"])
    seen = f"{len(data)} packets, {sum(row['bytes'] for row in data)} bytes, " + (
        "readable!" if leaked else "none readable"
    )
    proofs = (_frame(data[0]), _line(line, f"status {line['data']['status']}, {line['data']['bytes']} bytes"))
    return Step(
        11,
        title,
        "lb",
        "client",
        not leaked,
        seen,
        proofs,
        data[0]["time"],
        _ms_between(answer, data[0]),
        not leaked,
    )


def _browser_decrypts(trail: Trail) -> Step:
    request, title = trail.shown, "the browser decrypts the answer"
    if request["tls"] is None:
        return _unseen(12, title, "browser", "browser", "the browser had no TLS")
    seen = f"status {request['status']}, {request['http']}, {request['tls']['version']}, {request['bytes']} bytes"
    done = request["time"] + request["ms"] / 1000
    return Step(
        12,
        title,
        "browser",
        "browser",
        request["status"] == 200,
        seen,
        (_record(request, seen),),
        done,
        request["ms"],
    )


def _browser_displays(trail: Trail) -> Step:
    shown, title = trail.evidence["visit"]["shown"], "the browser displays the website"
    parts = [part for part, there in (("message", shown["has_message"]), ("name", shown["has_name"])) if there]
    seen = f"{shown['title']!r}, showing the visitor's {' and '.join(parts) or 'nothing'}"
    assets = [request for request in trail.requests if not request["page"]]
    complete = bool(assets) and all(request["status"] == 200 for request in assets)
    proofs = (
        _record(trail.shown, "title and text"),
        *(_record(asset, f"status {asset['status']}") for asset in assets[:3]),
    )
    done = trail.shown["time"] + trail.shown["ms"] / 1000
    return Step(13, title, "browser", "user", len(parts) == 2 and complete, seen, proofs, done)


def _ms_between(a: Row, b: Row) -> float:
    return round((float(b["time"]) - float(a["time"])) * 1000, 3)


def _first_of_each_link(rows: Sequence[Row]) -> tuple[Proof, ...]:
    first = {row["link"]: row for row in reversed(rows)}
    return tuple(_frame(row) for row in first.values())


ALL: tuple[Callable[[Trail], Step], ...] = (
    _types_the_address,
    _asks_dns,
    _dns_answers,
    _sends_https,
    _ends_tls,
    _forwards,
    _passes_the_firewall,
    _reaches_the_application,
    _asks_the_database,
    _answer_goes_back,
    _encrypts_the_answer,
    _browser_decrypts,
    _browser_displays,
)
