"""The 13 steps of the write-up, each a pure function from the journey's evidence to what was seen of it.

Two requests of the visit are followed: the message being posted, and the page that shows it afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from experiments.journey.evidenceindex import Evidence, Row, Trail, Unseen, is_tls_data

Look: TypeAlias = Callable[[Trail], "Seen"]


@dataclass(frozen=True)
class Proof:
    """Where to look: a frame of a capture, a line of a log, or a field of the evidence."""

    where: str
    number: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.where}#{self.number}" if self.number is not None else self.where


@dataclass(frozen=True)
class Seen:
    """What was seen of a step. ``at``: seconds since the epoch; ``ms``: its duration.

    ``holds`` None: seen, but not enough of it to say. ``encrypted`` None: nothing went over a link.
    """

    who: str
    whom: str
    what: str
    proofs: tuple[Proof, ...]
    at: float
    holds: bool | None = True
    ms: float | None = None
    encrypted: bool | None = None


@dataclass(frozen=True)
class Step:
    """One of the 13. ``seen`` None: nobody saw it, and ``missing`` says what was looked for."""

    number: int
    title: str
    seen: Seen | None
    missing: str = ""

    @property
    def holds(self) -> bool | None:
        return self.seen.holds if self.seen else None

    @property
    def what(self) -> str:
        return self.seen.what if self.seen else self.missing


def steps(evidence: Evidence) -> tuple[Step, ...]:
    """All 13, in order."""
    trail = Trail(evidence)
    return tuple(
        _step(number, title, look, trail) for number, (title, look) in enumerate(told(evidence["tls"]), start=1)
    )


def told(tls: Mapping[str, bool]) -> list[tuple[str, Look]]:
    """The write-up's steps, in other words and by other means where TLS does not end at the balancer alone."""
    other = THROUGH if tls["through"] else INSIDE if tls["inside"] else {}
    return [other.get(number, step) for number, step in enumerate(STEPS, start=1)]


def _step(number: int, title: str, look: Look, trail: Trail) -> Step:
    try:
        return Step(number, title, look(trail))
    except Unseen as error:
        return Step(number, title, None, str(error))


def _asks_for_the_site(trail: Trail) -> Seen:
    first = trail.requests[0]
    right = first["url"] == f"https://{trail.site}/"
    return Seen("user", "browser", first["url"], (_visit(first, "asked for"),), first["time"], holds=right)


def _asks_dns(trail: Trail) -> Seen:
    sent, arrived = trail.dns("client", answers=False), trail.dns("dns", answers=False)
    proofs = (_frame(sent), _frame(arrived))
    return Seen("client", "dns", f"A {trail.site}?", proofs, sent["time"], ms=_ms(sent, arrived), encrypted=False)


def _dns_answers(trail: Trail) -> Seen:
    asked, answer = trail.dns("client", answers=False), trail.dns("client", answers=True)
    told = answer["says"]["answer"]
    what = f"{trail.site} is {', '.join(told) or 'unknown'}"
    right = told == [trail.hosts["lb"]]
    ms = _ms(asked, answer)
    return Seen("dns", "client", what, (_frame(answer),), answer["time"], holds=right, ms=ms, encrypted=False)


def _sends_https(trail: Trail) -> Seen:
    def sent(row: Row) -> bool:
        return bool(row["src"] == trail.shown["from"] and row["dst"] == trail.shown["to"])

    opened = trail.frame("client", "SYN to the balancer", lambda row: sent(row) and row["flags"] == "S")
    hello = trail.frame("client", "ClientHello", lambda row: sent(row) and row["says"].get("text") == "ClientHello")
    data = trail.frames("client", lambda row: sent(row) and row["says"].get("text", "").startswith("application data"))
    if not data or trail.host_of(trail.shown["to"]) != "lb":
        raise Unseen("no TLS data from the client to the balancer")
    secret = trail.secret(sent, "client")
    return Seen(
        "client",
        "lb",
        f"{len(data)} packets of TLS, {_readable(secret)}",
        (_frame(opened), _frame(hello), _frame(data[0])),
        opened["time"],
        holds=secret,
        ms=_ms(opened, data[0]),
        encrypted=secret,
    )


def _ends_tls(trail: Trail) -> Seen:
    line, plain, certificate = trail.log("haproxy"), trail.forwarded("lb"), trail.shown["tls"]
    if certificate is None:
        raise Unseen("the browser was shown no certificate")
    what = f"{line['data']['tls']}, {line['data']['cipher']}, certificate of {certificate['subject']}"
    proofs = (
        _line(line, "TLS version and cipher"),
        _visit(trail.shown, f"issuer {certificate['issuer']}"),
        _frame(plain),
    )
    right = certificate["subject"] == trail.site
    return Seen("lb", "lb", what, proofs, trail.shown["time"], holds=right)


def _reads_the_name(trail: Trail) -> Seen:
    line = trail.log("haproxy")
    hello = trail.frame(
        "lb",
        "ClientHello",
        lambda row: row["src"] == trail.shown["from"] and row["says"].get("text") == "ClientHello",
    )
    name = line["data"]["sni"]
    what = f"the ClientHello asks for {name}; the balancer has no key, and reads no more"
    return Seen("lb", "lb", what, (_frame(hello), _line(line, f"sni {name}")), hello["time"], holds=name == trail.site)


def _forwards(trail: Trail) -> Seen:
    sent, line = trail.forwarded("lb"), trail.log("haproxy")
    server, chosen = trail.host_of(sent["dst"]), line["data"]["server"]
    shares = Counter(request["server"] for request in trail.requests if request["server"])
    share = ", ".join(f"{name} {count}" for name, count in sorted(shares.items()))
    return Seen(
        "lb",
        server,
        f"{server} was its turn by {trail.evidence['balance']}; of this visit's requests: {share}",
        (_frame(sent), _line(line, f"server {chosen}")),
        sent["time"],
        holds=_all(chosen == server, _kept_secret(trail, sent)),
        encrypted=_encrypted(trail, sent),
    )


def _encrypted(trail: Trail, sent: Row) -> bool | None:
    """Whether a request from the balancer, and all else of its connection, could not be read on the way."""
    return (
        trail.secret(lambda row: {row["src"], row["dst"]} == {sent["src"], sent["dst"]}, "lb", trail.server)
        if trail.tls["inside"]
        else False
    )


def _kept_secret(trail: Trail, sent: Row) -> bool | None:
    """What is to be encrypted is; what is not to be is no question."""
    return _encrypted(trail, sent) if trail.tls["inside"] else True


def _all(*answers: bool | None) -> bool | None:
    """False when one is, else unknown when one is, else true."""
    return False if False in answers else None if None in answers else True


def _passes_the_firewall(trail: Trail) -> Seen:
    outside, inside, line = trail.forwarded("lb"), trail.forwarded(trail.server), trail.log("nginx")
    firewall = trail.firewalls[trail.server]
    rose = trail.rose(firewall, "web")
    ruled = "web" in trail.evidence["counters"]["after"][firewall]
    what = f"its rule web let {rose} packets through meanwhile" if rose else "no rule of it counted this packet"
    counter = Proof("evidence.json", None, f"counters: {firewall} web +{rose}")
    return Seen(
        firewall,
        trail.server,
        f"{firewall}: {what if ruled else 'it has no rule web: no firewall decided this'}",
        (_frame(outside), _frame(inside), _line(line, "nginx took it"), counter),
        inside["time"],
        holds=(True if rose else None) if ruled else False,
        ms=_ms(outside, inside),
        encrypted=_encrypted(trail, outside),
    )


def _passes_the_firewall_and_ends_tls(trail: Trail) -> Seen:
    passed, line, certificate = _passes_the_firewall(trail), trail.log("nginx"), trail.shown["tls"]
    if certificate is None:
        raise Unseen("the browser was shown no certificate")
    what = f"{passed.what}; {line['data']['tls']}, {line['data']['cipher']}, certificate of {certificate['subject']}"
    proofs = (*passed.proofs, _visit(trail.shown, f"issuer {certificate['issuer']}"))
    return replace(passed, what=what, proofs=proofs, holds=_all(passed.holds, certificate["subject"] == trail.site))


def _reaches_the_application(trail: Trail) -> Seen:
    asked, line = trail.asked_application, trail.log("app")
    what = f"{line['data']['request']} over {trail.server}'s loopback"
    proofs = (_frame(asked), _line(line, line["data"]["request"]))
    took = float(line["data"]["seconds"]) * 1000
    return Seen(f"nginx ({trail.server})", "app", what, proofs, asked["time"], ms=took, encrypted=False)


def _asks_the_database(trail: Trail) -> Seen:
    read = trail.statement(trail.server, trail.shown, "SELECT")
    written = trail.statement(trail.primary, trail.post, "INSERT")
    on_wire = trail.frame(
        trail.primary,
        "write from the balancer's endpoint",
        lambda row: (
            _may_hold_the_message(trail, row) and (trail.host_of(row["src"]), row["dst"]) == ("lb", _database(trail))
        ),
    )
    replicas = [server for server in trail.firewalls if server != trail.primary]
    copies = [_copied_to(trail, replica) for replica in replicas]
    last = max([on_wire, *copies], key=lambda row: float(row["time"]))
    encrypted, arrived = _databases_encrypted(trail, replicas), len(set(trail.evidence["positions"].values())) == 1
    return Seen(
        f"app ({trail.server})",
        "database",
        f"read on {trail.server}; the message written on {trail.primary}, the primary, and copied to "
        f"{', '.join(replicas) or 'nobody'} within {_ms(on_wire, last):.1f} ms",
        (_line(read, read["sql"]), _line(written, written["sql"]), *map(_frame, [on_wire, *copies])),
        read["time"],
        holds=_all(arrived, encrypted) if trail.tls["both"] else True,
        encrypted=encrypted,
    )


def _may_hold_the_message(trail: Trail, row: Row) -> bool:
    """The posted message itself; encrypted, any data since the browser sent it."""
    if trail.tls["both"]:
        return is_tls_data(row) and bool(row["time"] >= trail.post["time"])
    return "message" in row["marks"]


def _databases_encrypted(trail: Trail, replicas: Sequence[str]) -> bool | None:
    """Whether nothing of the visit could be read on the way to the primary and from there to the replicas."""
    if not trail.tls["both"]:
        return False
    return trail.secret(lambda row: ":3306" in f"{row['src']} {row['dst']}", trail.primary, "lb", *replicas)


def _database(trail: Trail) -> str:
    return f"{trail.hosts[trail.primary]}:3306"


def _copied_to(trail: Trail, replica: str) -> Row:
    """The posted message on its way to a replica: in the primary's binary log, or in what it tells its group."""
    group = trail.group_port
    return trail.frame(
        replica,
        "replication of the message",
        lambda row: (
            _may_hold_the_message(trail, row)
            and _sent_by_database(trail, row, group)
            and trail.host_of(row["dst"]) == replica
        ),
    )


def _sent_by_database(trail: Trail, row: Row, group: int | None) -> bool:
    """In a group either side may have opened the connection, so the port may be at either end."""
    if group is None:
        return bool(row["src"] == _database(trail))
    ports = {end.rpartition(":")[2] for end in (row["src"], row["dst"])}
    return trail.host_of(row["src"]) == trail.primary and str(group) in ports


def _answer_goes_back(trail: Trail) -> Seen:
    sent = trail.forwarded("lb")
    from_application, from_nginx = trail.answered(trail.asked_application), trail.answered(sent)
    line = trail.log("nginx")
    status = f"HTTP/1.1 {line['data']['status']}" if trail.tls["inside"] else from_nginx["says"]["text"]
    statuses = [from_application["says"]["text"], status]
    return Seen(
        f"app ({trail.server})",
        "lb",
        f"{statuses[0]} from the application, {statuses[1]} from nginx",
        (_frame(from_application), _frame(from_nginx), *((_line(line, status),) if trail.tls["inside"] else ())),
        from_nginx["time"],
        holds=_all(all(" 200" in status for status in statuses), _kept_secret(trail, sent)),
        ms=_ms(sent, from_nginx),
        encrypted=_encrypted(trail, sent),
    )


def _encrypts_the_answer(trail: Trail) -> Seen:
    answer, line = trail.answered(trail.forwarded("lb")), trail.log("haproxy")

    def sent(row: Row) -> bool:
        return bool(row["src"] == trail.shown["to"] and row["dst"] == trail.shown["from"])

    data = trail.frames(
        "client", lambda row: sent(row) and row["time"] >= answer["time"] and row["says"].get("kind") == "tls"
    )
    if not data:
        raise Unseen("no TLS data to the client after nginx's answer")
    secret = trail.secret(sent, "client")
    status = "" if trail.tls["through"] else f"status {line['data']['status']}, "
    return Seen(
        "lb",
        "client",
        f"{len(data)} packets of TLS, {sum(row['bytes'] for row in data)} bytes, {_readable(secret)}",
        (_frame(data[0]), _line(line, f"{status}{line['data']['bytes']} bytes")),
        data[0]["time"],
        holds=secret,
        ms=_ms(answer, data[0]),
        encrypted=secret,
    )


def _browser_decrypts(trail: Trail) -> Seen:
    request = trail.shown
    if request["tls"] is None:
        raise Unseen("the browser had no TLS")
    what = f"status {request['status']}, {request['http']}, {request['tls']['version']}, {request['bytes']} bytes"
    done = request["time"] + request["ms"] / 1000
    right = request["status"] == 200
    return Seen("browser", "browser", what, (_visit(request, what),), done, holds=right, ms=request["ms"])


def _browser_displays(trail: Trail) -> Seen:
    shown, page = trail.evidence["visit"]["shown"], trail.shown
    parts = [part for part, there in (("message", shown["has_message"]), ("name", shown["has_name"])) if there]
    files = [request for request in trail.requests if not request["page"]]
    complete = bool(files) and all(request["status"] == 200 for request in files)
    what = f"{shown['title']!r} with {len(files)} files, showing the visitor's {' and '.join(parts) or 'nothing'}"
    proofs = (_visit(page, "title and text"), *(_visit(file, f"status {file['status']}") for file in files[:3]))
    done = page["time"] + page["ms"] / 1000
    return Seen("browser", "user", what, proofs, done, holds=len(parts) == 2 and complete)


def _frame(row: Row) -> Proof:
    bare = "TCP SYN" if row["flags"] == "S" else f"{row['bytes']} bytes of {row['proto'].upper()}"
    return Proof(row["file"], row["frame"], row["says"].get("text") or bare)


def _line(row: Row, what: str) -> Proof:
    return Proof(row["file"], row["line"], what)


def _visit(request: Row, what: str) -> Proof:
    return Proof("evidence.json", None, f"visit: {request['method']} {request['url']}: {what}")


def _ms(a: Row, b: Row) -> float:
    return round((float(b["time"]) - float(a["time"])) * 1000, 3)


def _readable(secret: bool | None) -> str:
    if secret is None:
        return "but packets were lost: nobody knows whether all of it"
    return "none readable" if secret else "readable!"


STEPS: tuple[tuple[str, Look], ...] = (
    ("the user asks for the website", _asks_for_the_site),
    ("the computer asks DNS for the name", _asks_dns),
    ("DNS returns the balancer's address", _dns_answers),
    ("the computer sends an HTTPS request to the balancer", _sends_https),
    ("the balancer ends TLS with the site's certificate", _ends_tls),
    ("the balancer forwards the decrypted request to one nginx", _forwards),
    ("nginx receives it through the firewall", _passes_the_firewall),
    ("nginx passes it to the application server", _reaches_the_application),
    ("the application asks the database", _asks_the_database),
    ("the answer goes back to nginx and to the balancer", _answer_goes_back),
    ("the balancer encrypts the answer and sends it", _encrypts_the_answer),
    ("the browser decrypts the answer", _browser_decrypts),
    ("the browser displays the website", _browser_displays),
)
# where nginx speaks TLS, some are told otherwise
INSIDE: Mapping[int, tuple[str, Look]] = {
    6: ("the balancer forwards the request, encrypted anew, to one nginx", _forwards),
    10: ("the answer goes back to nginx and, encrypted, to the balancer", _answer_goes_back),
}
# and where that TLS is the visitor's own
THROUGH: Mapping[int, tuple[str, Look]] = {
    5: ("the balancer reads the site's name, and nothing else", _reads_the_name),
    6: ("the balancer passes the encrypted connection on to one nginx", _forwards),
    7: ("nginx receives it through the firewall and ends TLS", _passes_the_firewall_and_ends_tls),
    10: ("the answer goes back to nginx, which encrypts it", _answer_goes_back),
    11: ("the balancer passes the encrypted answer on", _encrypts_the_answer),
}
