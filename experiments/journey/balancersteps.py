"""The steps at the balancer: it ends TLS or reads the name, forwards the request, and sends the answer."""

from __future__ import annotations

from collections import Counter

from experiments.engine.verdict import all_of
from experiments.journey.evidenceindex import EvidenceIndex, Row, Unseen
from experiments.journey.steps import StepObservation, duration_ms, frame_proof, line_proof, readability, visit_proof


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
