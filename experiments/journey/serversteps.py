"""The steps behind the balancer: firewall, nginx, application, databases, and the answer's way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.engine.verdict import all_of
from experiments.journey.evidenceindex import EvidenceIndex, Row, Unseen, is_tls_data
from experiments.journey.steps import ProofLocation, StepObservation, duration_ms, frame_proof, line_proof, visit_proof


def passes_the_firewall(index: EvidenceIndex) -> StepObservation:
    """The request on both sides of the firewall, and the counter of the rule that let it pass."""
    outside, inside, line = index.forwarded(index.balancer), index.forwarded(index.server), index.log("nginx")
    firewall = index.firewalls[index.server]
    rose = index.rose(firewall, "web")
    ruled = "web" in index.evidence.counters["after"][firewall]
    what = f"its rule web let {rose} packets through meanwhile" if rose else "no rule of it counted this packet"
    counter = ProofLocation("evidence.json", None, f"counters: {firewall} web +{rose}")
    return StepObservation(
        firewall,
        index.server,
        f"{firewall}: {what if ruled else 'it has no rule web: no firewall decided this'}",
        (frame_proof(outside), frame_proof(inside), line_proof(line, "nginx took it"), counter),
        inside["time"],
        holds=(True if rose else None) if ruled else False,
        ms=duration_ms(outside, inside),
        encrypted=index.encrypted(outside),
    )


def passes_the_firewall_and_ends_tls(index: EvidenceIndex) -> StepObservation:
    """The same where nginx shows the visitor the site's certificate."""
    passed, line, certificate = passes_the_firewall(index), index.log("nginx"), index.shown["tls"]
    if certificate is None:
        raise Unseen("the browser was shown no certificate")
    what = f"{passed.what}; {line['data']['tls']}, {line['data']['cipher']}, certificate of {certificate['subject']}"
    proofs = (*passed.proofs, visit_proof(index.shown, f"issuer {certificate['issuer']}"))
    return replace(passed, what=what, proofs=proofs, holds=all_of(passed.holds, certificate["subject"] == index.site))


def reaches_the_application(index: EvidenceIndex) -> StepObservation:
    """The request from nginx to the application, over the server's loopback."""
    asked, line = index.asked_application, index.log("app")
    what = f"{line['data']['request']} over {index.server}'s loopback"
    proofs = (frame_proof(asked), line_proof(line, line["data"]["request"]))
    took = float(line["data"]["seconds"]) * 1000
    return StepObservation(f"nginx ({index.server})", "app", what, proofs, asked["time"], ms=took, encrypted=False)


def asks_the_database(index: EvidenceIndex) -> StepObservation:
    """The page's SELECT, the message's INSERT on the primary, and its copies on the replicas."""
    read = index.statement(index.server, index.shown, "SELECT")
    written = index.statement(index.primary, index.post, "INSERT")
    on_wire = index.frame(
        index.primary,
        "write from the balancer's endpoint",
        lambda row: (
            _may_hold_the_message(index, row)
            and (index.host_of(row["src"]), row["dst"]) == (index.balancer, _database(index))
        ),
    )
    replicas = [server for server in index.firewalls if server != index.primary]
    copies = [_copied_to(index, replica) for replica in replicas]
    last = max([on_wire, *copies], key=lambda row: float(row["time"]))
    encrypted, arrived = _databases_encrypted(index, replicas), len(set(index.evidence.positions.values())) == 1
    return StepObservation(
        f"app ({index.server})",
        "database",
        f"read on {index.server}; the message written on {index.primary}, the primary, and copied to "
        f"{', '.join(replicas) or 'no other'} within {duration_ms(on_wire, last):.1f} ms",
        (line_proof(read, read["sql"]), line_proof(written, written["sql"]), *map(frame_proof, [on_wire, *copies])),
        read["time"],
        holds=all_of(arrived, encrypted) if index.tls["mutual"] else True,
        encrypted=encrypted,
    )


def _may_hold_the_message(index: EvidenceIndex, row: Row) -> bool:
    """The posted message itself; encrypted, any data since the browser sent it."""
    if index.tls["mutual"]:
        return is_tls_data(row) and bool(row["time"] >= index.post["time"])
    return "message" in row["marks"]


def _databases_encrypted(index: EvidenceIndex, replicas: Sequence[str]) -> bool | None:
    """Was nothing of the visit readable on the way to the primary and from there to the replicas?"""
    if not index.tls["mutual"]:
        return False
    return index.secret(
        lambda row: f":{index.evidence.database_port}" in f"{row['src']} {row['dst']}",
        index.primary,
        index.balancer,
        *replicas,
    )


def _database(index: EvidenceIndex) -> str:
    return f"{index.hosts[index.primary]}:{index.evidence.database_port}"


def _copied_to(index: EvidenceIndex, replica: str) -> Row:
    """The posted message on its way to a replica: in the primary's binary log, or in what it tells its group."""
    group = index.group_port
    return index.frame(
        replica,
        "replication of the message",
        lambda row: (
            _may_hold_the_message(index, row)
            and _sent_by_database(index, row, group)
            and index.host_of(row["dst"]) == replica
        ),
    )


def _sent_by_database(index: EvidenceIndex, row: Row, group: int | None) -> bool:
    """In a group either side may have opened the connection, so the port may be at either end."""
    if group is None:
        return bool(row["src"] == _database(index))
    ports = {end.rpartition(":")[2] for end in (row["src"], row["dst"])}
    return index.host_of(row["src"]) == index.primary and str(group) in ports


def answer_goes_back(index: EvidenceIndex) -> StepObservation:
    """The answers of the application and of nginx, both with status 200."""
    sent = index.forwarded(index.balancer)
    from_application, from_nginx = index.answered(index.asked_application), index.answered(sent)
    line = index.log("nginx")
    status = f"HTTP/1.1 {line['data']['status']}" if index.tls["backend_tls"] else from_nginx["says"]["text"]
    logged = (line_proof(line, status),) if index.tls["backend_tls"] else ()
    statuses = [from_application["says"]["text"], status]
    return StepObservation(
        f"app ({index.server})",
        index.balancer,
        f"{statuses[0]} from the application, {statuses[1]} from nginx",
        (frame_proof(from_application), frame_proof(from_nginx), *logged),
        from_nginx["time"],
        holds=all_of(all(" 200" in status for status in statuses), index.kept_secret(sent)),
        ms=duration_ms(sent, from_nginx),
        encrypted=index.encrypted(sent),
    )
