"""The journey's judge on evidence of a real run: good, bad and blind, without root or a network."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.engine.base import judged
from experiments.engine.verdict import Verdict
from experiments.journey import checks
from experiments.journey.checks import STEPS
from experiments.journey.evidence import JourneyEvidence
from experiments.journey.evidenceindex import EvidenceIndex, is_tls_data
from experiments.journey.experiment import Journey
from experiments.journey.steps import JourneyStep

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "journey.json").read_text())
# what real runs with other values of --tls saw
ENCRYPTED = {tls: json.loads((DATA / f"journey-{tls}.json").read_text()) for tls in ("mutual", "passthrough")}


@pytest.fixture
def evidence() -> dict[str, Any]:
    """What a real run on the seed profile saw; a copy to spoil."""
    return copy.deepcopy(RECORDED)


def steps(evidence: dict[str, Any]) -> tuple[JourneyStep, ...]:
    return checks.steps(JourneyEvidence.parse(evidence))


def judge(evidence: dict[str, Any]) -> Verdict:
    return Journey().judge(JourneyEvidence.parse(evidence))


def html_of(evidence: dict[str, Any]) -> str:
    return Journey().page(JourneyEvidence.parse(evidence))


def page(evidence: dict[str, Any]) -> dict[str, Any]:
    """The followed page's own record."""
    found: dict[str, Any] = evidence["visit"]["requests"][-1]
    while not found["page"]:
        found = evidence["visit"]["requests"][evidence["visit"]["requests"].index(found) - 1]
    return found


def holds(evidence: dict[str, Any], number: int) -> bool | None:
    return steps(evidence)[number - 1].holds


def test_a_good_run_proves_all_13_steps(evidence: dict[str, Any]) -> None:
    verdict = judge(evidence)
    assert verdict.holds is True
    assert verdict.numbers["proved"] == verdict.numbers["steps"] == 13
    assert all(step.seen and step.seen.proofs for step in steps(evidence))


def test_every_proof_can_be_looked_up(evidence: dict[str, Any]) -> None:
    """A proof names a frame, a log line or a statement that the evidence really holds."""
    rows = {(row["file"], row["frame"]) for row in evidence["frames"]}
    rows |= {(row["file"], row["line"]) for row in (*evidence["logs"], *evidence["sql"])}
    proofs = [proof for step in steps(evidence) if step.seen for proof in step.seen.proofs]
    assert len(proofs) > 25
    assert all((proof.where, proof.number) in rows for proof in proofs if proof.number is not None)


# what to take away so that a step is no longer seen: (step, how)
BLINDFOLDS: list[tuple[int, str, Callable[[dict[str, Any]], None]]] = [
    (2, "no packets on dns", lambda e: drop_frames(e, lambda row: row["link"] == "dns")),
    (3, "no answers", lambda e: drop_frames(e, lambda row: row["says"].get("answer") is not None)),
    (4, "no ClientHello", lambda e: drop_frames(e, lambda row: row["says"].get("text") == "ClientHello")),
    (4, "packets lost", lambda e: blind(e, "client")),
    (5, "no balancer log", lambda e: drop_logs(e, "haproxy")),
    (6, "no packets on lb", lambda e: drop_frames(e, lambda row: row["link"] == "lb")),
    (7, "no nginx log", lambda e: drop_logs(e, "nginx")),
    (7, "no counter", lambda e: e["counters"].update(after=e["counters"]["before"])),
    (8, "no application log", lambda e: drop_logs(e, "app")),
    (8, "no loopback", lambda e: drop_frames(e, lambda row: row["link"].endswith("-lo"))),
    (9, "no SQL", lambda e: e.update(sql=[])),
    (9, "no replication", lambda e: drop_frames(e, lambda row: row["link"] == "srv2")),
    (10, "no answers", lambda e: drop_frames(e, lambda row: row["says"].get("text", "").startswith("HTTP/1.1 200"))),
    (11, "nothing after", lambda e: drop_frames(e, lambda row: row["link"] == "client" and ":443" in row["src"])),
    (11, "packets lost", lambda e: blind(e, "client")),
    (12, "no TLS", lambda e: page(e).update(tls=None)),
]


def drop_frames(evidence: dict[str, Any], unwanted: Callable[[dict[str, Any]], bool]) -> None:
    before = len(evidence["frames"])
    evidence["frames"] = [row for row in evidence["frames"] if not unwanted(row)]
    assert len(evidence["frames"]) < before


def drop_logs(evidence: dict[str, Any], service: str) -> None:
    evidence["logs"] = [row for row in evidence["logs"] if row["service"] != service]


def blind(evidence: dict[str, Any], link: str) -> None:
    next(capture for capture in evidence["captures"] if capture["link"] == link)["dropped"] = 7


@pytest.mark.parametrize(
    ("number", "how", "blindfold"), BLINDFOLDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_step_nobody_saw_is_unknown(
    evidence: dict[str, Any], number: int, how: str, blindfold: Callable[[dict[str, Any]], None]
) -> None:
    blindfold(evidence)
    assert holds(evidence, number) is None
    assert judge(evidence).holds is None


def spoil_dns(evidence: dict[str, Any]) -> None:
    for row in evidence["frames"]:
        if row["says"].get("answer"):
            row["says"]["answer"] = ["10.0.1.66"]


def leak(evidence: dict[str, Any], end: str) -> None:
    request = page(evidence)
    row = next(
        row for row in evidence["frames"] if row["link"] == "client" and row[end] == request["from"] and row["bytes"]
    )
    row["marks"] = ["message"]


def choose_another(evidence: dict[str, Any]) -> None:
    for row in evidence["logs"]:
        if row["service"] == "haproxy":
            row["data"]["server"] = "elsewhere"


def answer_with_errors(evidence: dict[str, Any]) -> None:
    for row in evidence["frames"]:
        if row["says"].get("text") == "HTTP/1.1 200 OK":
            row["says"]["text"] = "HTTP/1.1 502 Bad Gateway"


# what to change so that a step went another way than the write-up says
SPOILERS: list[tuple[int, str, Callable[[dict[str, Any]], None]]] = [
    (1, "another site", lambda e: e["visit"]["requests"][0].update(url="http://www.foobar.com/")),
    (3, "another address", spoil_dns),
    (4, "readable question", lambda e: leak(e, "src")),
    (5, "another certificate", lambda e: page(e)["tls"].update(subject="www.example.com")),
    (6, "another server", choose_another),
    (7, "no such rule", lambda e: [counts.pop("web", None) for counts in e["counters"]["after"].values()]),
    (10, "an error", answer_with_errors),
    (11, "readable answer", lambda e: leak(e, "dst")),
    (12, "an error", lambda e: page(e).update(status=500)),
    (13, "another page", lambda e: e["visit"]["shown"].update(has_message=False)),
    (13, "broken files", lambda e: [each.update(status=404) for each in e["visit"]["requests"] if not each["page"]]),
]


@pytest.mark.parametrize(
    ("number", "how", "spoil"), SPOILERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_step_that_went_another_way_fails(
    evidence: dict[str, Any], number: int, how: str, spoil: Callable[[dict[str, Any]], None]
) -> None:
    spoil(evidence)
    assert holds(evidence, number) is False
    assert judge(evidence).holds is False


@pytest.mark.parametrize("tls", ENCRYPTED)
def test_encrypted_inside_the_same_steps_are_proved(tls: str) -> None:
    evidence = copy.deepcopy(ENCRYPTED[tls])
    assert judge(evidence).holds is True
    test_every_proof_can_be_looked_up(evidence)
    told = {step.number: step.seen.encrypted for step in steps(evidence) if step.seen}
    assert [number for number in (4, 6, 7, 10, 11) if not told[number]] == []
    assert told[9] == (tls == "mutual")
    assert all(step.title.replace("'", "&#39;") in html_of(evidence) for step in steps(evidence))


def readable_on_lb(evidence: dict[str, Any]) -> None:
    """Something of the visit can be read on the way to nginx after all."""
    seen = EvidenceIndex(JourneyEvidence.parse(evidence)).forwarded("lb")
    place = (seen["file"], seen["frame"])
    next(row for row in evidence["frames"] if (row["file"], row["frame"]) == place)["marks"] = ["password"]


def readable_on_srv1(evidence: dict[str, Any]) -> None:
    """Something of the visit can be read on the way to the primary after all."""
    row = next(row for row in evidence["frames"] if row["link"] == "srv1" and row["dst"].endswith(":3306"))
    row["marks"] = ["message"]


# (tls, step, what is done to the evidence, what the step is then)
CHANGES: list[tuple[str, int, str, Callable[[dict[str, Any]], None], bool | None]] = [
    ("mutual", 6, "packets lost", lambda e: blind(e, "lb"), None),
    ("mutual", 6, "readable", readable_on_lb, False),
    ("mutual", 7, "no TLS on lb", lambda e: drop_frames(e, lambda row: row["link"] == "lb" and is_tls_data(row)), None),
    ("mutual", 9, "packets lost", lambda e: blind(e, "srv1"), None),
    ("mutual", 9, "readable", readable_on_srv1, False),
    ("mutual", 9, "a replica behind", lambda e: e["positions"].update(srv2="0-1-0"), False),
    ("mutual", 10, "an error", lambda e: [row["data"].update(status=502) for row in e["logs"]], False),
    ("passthrough", 5, "another name", lambda e: [row["data"].update(sni="x.org") for row in e["logs"]], False),
    ("passthrough", 5, "no balancer log", lambda e: drop_logs(e, "haproxy"), None),
    ("passthrough", 6, "another server", choose_another, False),
    ("passthrough", 7, "another certificate", lambda e: page(e)["tls"].update(subject="www.example.com"), False),
    ("passthrough", 7, "no certificate", lambda e: page(e).update(tls=None), None),
    ("passthrough", 10, "readable", readable_on_lb, False),
]


@pytest.mark.parametrize(("tls", "number", "how", "change", "verdict"), CHANGES, ids=lambda value: str(value)[:20])
def test_an_encrypted_step_that_was_not(
    tls: str, number: int, how: str, change: Callable[[dict[str, Any]], None], verdict: bool | None
) -> None:
    evidence = copy.deepcopy(ENCRYPTED[tls])
    change(evidence)
    assert holds(evidence, number) is verdict


def as_a_cluster(evidence: dict[str, Any], port: int) -> None:
    """The same visit, its message copied in what the databases of a cluster tell each other, on this port."""
    evidence["group_port"] = 4567
    for row in evidence["frames"]:
        if row["link"] in ("srv2", "srv3") and row["src"] == f"{evidence['hosts']['srv1']}:3306":
            row["src"] = f"{evidence['hosts']['srv1']}:40000"
            row["dst"] = f"{row['dst'].rpartition(':')[0]}:{port}"


@pytest.mark.parametrize(("port", "verdict"), [(4567, True), (4444, None)])
def test_in_a_cluster_the_message_is_copied_within_the_group(
    evidence: dict[str, Any], port: int, verdict: bool | None
) -> None:
    as_a_cluster(evidence, port)
    assert holds(evidence, 9) is verdict


def test_each_step_can_be_seen_to_miss() -> None:
    """Every step but the first, which is the visit itself, has a blindfold or a spoiler above."""
    tried = {number for number, _, _ in BLINDFOLDS} | {number for number, _, _ in SPOILERS}
    assert tried == set(range(1, len(STEPS) + 1))


def test_a_judge_that_chokes_knows_nothing() -> None:
    verdict = judged(Journey(), {"visit": {}})
    assert verdict.holds is None
    assert "cannot be judged" in verdict.because


def test_the_page_shows_every_step_and_escapes_what_it_shows(evidence: dict[str, Any]) -> None:
    evidence["visit"]["shown"]["title"] = "<script>alert(1)</script>"
    html = html_of(evidence)
    assert all(title.replace("'", "&#39;") in html for title, _ in STEPS)
    assert "<script>" not in html
    assert "<svg" in html


def test_an_unseen_step_is_shown_as_such(evidence: dict[str, Any]) -> None:
    drop_logs(evidence, "nginx")
    assert "not seen" in html_of(evidence)
    assert "not seen" not in html_of(copy.deepcopy(RECORDED))


def test_the_report_names_the_command_that_shows_the_request_in_the_logs(evidence: dict[str, Any]) -> None:
    request = page(evidence)["request_id"]
    assert f"<code>python -m topo.foobar logs --request {request}</code>" in html_of(evidence)
    assert 'lb-haproxy.log"><code>lb-haproxy.log</code></a>' in html_of(evidence)
    page(evidence)["request_id"] = ""
    assert "logs --request" not in html_of(evidence)
