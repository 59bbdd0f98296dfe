"""The steps in front of the firewalls: the browser finds and asks the site, the balancer passes it on, and back."""

from __future__ import annotations

from collections import Counter

from experiments.engine.verdict import all_of
from experiments.journey.evidenceindex import EvidenceIndex, Row, Unseen
from experiments.journey.steps import StepObservation, duration_ms, frame_proof, line_proof, readability, visit_proof


def asks_for_the_site(index: EvidenceIndex) -> StepObservation:
    """The visit's first request is for the site's address."""
    first = index.requests[0]
    right = first["url"] == f"https://{index.site}/"
    return StepObservation(
        "user", "browser", first["url"], (visit_proof(first, "asked for"),), first["time"], holds=right
    )


def asks_dns(index: EvidenceIndex) -> StepObservation:
    """The question for the site's name, on the client's link and on the resolver's."""
    sent, arrived = index.dns(index.client, answers=False), index.dns(index.resolver, answers=False)
    proofs = (frame_proof(sent), frame_proof(arrived))
    return StepObservation(
        index.client,
        index.resolver,
        f"A {index.site}?",
        proofs,
        sent["time"],
        ms=duration_ms(sent, arrived),
        encrypted=False,
    )


def dns_answers(index: EvidenceIndex) -> StepObservation:
    """The answer names the balancer's address."""
    asked, answer = index.dns(index.client, answers=False), index.dns(index.client, answers=True)
    addresses = answer["says"]["answer"]
    what = f"{index.site} is {', '.join(addresses) or 'unknown'}"
    right = addresses == [index.hosts[index.balancer]]
    ms = duration_ms(asked, answer)
    return StepObservation(
        index.resolver, index.client, what, (frame_proof(answer),), answer["time"], holds=right, ms=ms, encrypted=False
    )


def sends_https(index: EvidenceIndex) -> StepObservation:
    """A TCP connection to the balancer, a ClientHello, then data in which nothing of the visit can be read."""

    def sent(row: Row) -> bool:
        return bool(row["src"] == index.shown["from"] and row["dst"] == index.shown["to"])

    opened = index.frame(index.client, "SYN to the balancer", lambda row: sent(row) and row["flags"] == "S")
    hello = index.frame(index.client, "ClientHello", lambda row: sent(row) and row["says"].get("text") == "ClientHello")
    data = index.frames(
        index.client, lambda row: sent(row) and row["says"].get("text", "").startswith("application data")
    )
    if not data or index.host_of(index.shown["to"]) != index.balancer:
        raise Unseen("no TLS data from the client to the balancer")
    secret = index.secret(sent, index.client)
    return StepObservation(
        index.client,
        index.balancer,
        f"{len(data)} packets of TLS, {readability(secret)}",
        (frame_proof(opened), frame_proof(hello), frame_proof(data[0])),
        opened["time"],
        holds=secret,
        ms=duration_ms(opened, data[0]),
        encrypted=secret,
    )


def browser_decrypts(index: EvidenceIndex) -> StepObservation:
    """The browser had the page, by TLS."""
    request = index.shown
    if request["tls"] is None:
        raise Unseen("the browser had no TLS")
    what = f"status {request['status']}, {request['http']}, {request['tls']['version']}, {request['bytes']} bytes"
    done = request["time"] + request["ms"] / 1000
    right = request["status"] == 200
    return StepObservation(
        "browser", "browser", what, (visit_proof(request, what),), done, holds=right, ms=request["ms"]
    )


def browser_displays(index: EvidenceIndex) -> StepObservation:
    """The page shows what the visitor posted, and all its files came."""
    shown, page = index.evidence.visit["shown"], index.shown
    parts = [part for part, there in (("message", shown["has_message"]), ("name", shown["has_name"])) if there]
    files = [request for request in index.requests if not request["page"]]
    complete = bool(files) and all(request["status"] == 200 for request in files)
    what = f"{shown['title']!r} with {len(files)} files, showing the visitor's {' and '.join(parts) or 'nothing'}"
    proofs = (
        visit_proof(page, "title and text"),
        *(visit_proof(file, f"status {file['status']}") for file in files[:3]),
    )
    done = page["time"] + page["ms"] / 1000
    return StepObservation("browser", "user", what, proofs, done, holds=len(parts) == 2 and complete)


def ends_tls(index: EvidenceIndex) -> StepObservation:
    """The balancer ends TLS with the site's certificate."""
    line, plain, certificate = index.log("haproxy"), index.forwarded(index.balancer), index.shown["tls"]
    if certificate is None:
        raise Unseen("the browser was shown no certificate")
    what = f"{line['data']['tls']}, {line['data']['cipher']}, certificate of {certificate['subject']}"
    proofs = (
        line_proof(line, "TLS version and cipher"),
        visit_proof(index.shown, f"issuer {certificate['issuer']}"),
        frame_proof(plain),
    )
    right = certificate["subject"] == index.site
    return StepObservation(index.balancer, index.balancer, what, proofs, index.shown["time"], holds=right)


def reads_the_name(index: EvidenceIndex) -> StepObservation:
    """The balancer passes TLS on, and reads the name in the ClientHello."""
    line = index.log("haproxy")
    hello = index.frame(
        index.balancer,
        "ClientHello",
        lambda row: row["src"] == index.shown["from"] and row["says"].get("text") == "ClientHello",
    )
    name = line["data"]["sni"]
    what = f"the ClientHello asks for {name}; the balancer has no key, and reads no more"
    return StepObservation(
        index.balancer,
        index.balancer,
        what,
        (frame_proof(hello), line_proof(line, f"sni {name}")),
        hello["time"],
        holds=name == index.site,
    )


def forwards(index: EvidenceIndex) -> StepObservation:
    """The request on its way to one nginx, which is the one that the balancer's log names."""
    sent, line = index.forwarded(index.balancer), index.log("haproxy")
    server, chosen = index.host_of(sent["dst"]), line["data"]["server"]
    shares = Counter(request["server"] for request in index.requests if request["server"])
    share = ", ".join(f"{name} {count}" for name, count in sorted(shares.items()))
    return StepObservation(
        index.balancer,
        server,
        f"{server} was its turn by {index.evidence.balance}; of this visit's requests: {share}",
        (frame_proof(sent), line_proof(line, f"server {chosen}")),
        sent["time"],
        holds=all_of(chosen == server, index.kept_secret(sent)),
        encrypted=index.encrypted(sent),
    )


def encrypts_the_answer(index: EvidenceIndex) -> StepObservation:
    """TLS data to the visitor after nginx's answer."""
    answer, line = index.answered(index.forwarded(index.balancer)), index.log("haproxy")

    def sent(row: Row) -> bool:
        return bool(row["src"] == index.shown["to"] and row["dst"] == index.shown["from"])

    data = index.frames(
        index.client, lambda row: sent(row) and row["time"] >= answer["time"] and row["says"].get("kind") == "tls"
    )
    if not data:
        raise Unseen("no TLS data to the client after nginx's answer")
    secret = index.secret(sent, index.client)
    status = "" if index.tls["passthrough"] else f"status {line['data']['status']}, "
    return StepObservation(
        index.balancer,
        index.client,
        f"{len(data)} packets of TLS, {sum(row['bytes'] for row in data)} bytes, {readability(secret)}",
        (frame_proof(data[0]), line_proof(line, f"{status}{line['data']['bytes']} bytes")),
        data[0]["time"],
        holds=secret,
        ms=duration_ms(answer, data[0]),
        encrypted=secret,
    )
