"""detection: the attacks, the honest visitors, what is counted, and the judge with good, bad and unclear evidence."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import detection_overhead
from controllers.denied import Headers, parse
from controllers.policy import policy
from experiments.detection import checks, scoring, show, webattacker
from experiments.detection.assault import Assault, may_pass, owed
from experiments.detection.attacks import DENIED, FLOOD, FORGED, LOGIN, SCAN, Attack, attacks, chosen, needed
from experiments.detection.evidence import DetectionEvidence
from experiments.detection.experiment import DetectionExperiment
from experiments.detection.scoring import Deed
from experiments.detection.visitors import (
    MEMBERS,
    PASSERS_BY,
    Ask,
    SiteAnswer,
    Visit,
    crawler,
    drawn,
    forgetful,
    member,
    misconfigured,
    reader,
)
from experiments.engine.base import judged
from experiments.engine.drawing import png
from experiments.instruments import flood
from topo.errors import UsageError
from topo.plan import Plan

Raw = dict[str, Any]


def row(attack: str, family: str = SCAN, **changes: Any) -> Raw:
    """An attack that is seen 20 ms after it has shown itself, and blocked 60 ms after that."""
    good: Raw = {
        "attack": attack,
        "family": family,
        "kinds": ["scan"],
        "sources": ["attacker"],
        "control": False,
        "began": 200.0,
        "ended": 208.0,
        "sent": 300,
        "whole": 65_535,
        "before": 200,
        "owed": 201.0,
        "seen": 201.02,
        "kind": "scan",
        "blocked": 201.08,
        "misnamed": [],
        "served": 0.99,
    }
    return {**good, **changes}


UNWATCHED: Raw = {"control": True, "seen": None, "blocked": None, "kind": None, "before": 9000, "sent": 9000}
ROWS = [
    row("nmap -p-"),
    row("nmap -p-", **UNWATCHED),
    row("brute force", LOGIN, blocked=201.6),
    row("SYN flood", FLOOD, owed=None),
    row("SYN flood as client", FORGED, owed=None, blocked=None, before=0),
    row("SYN flood as client", FORGED, owed=None, **{**UNWATCHED, "before": 0}),
]
GOOD: Raw = {
    "schema": 1,
    "detector": True,
    "client": "client",
    "honest_while": [100.0, 190.0],
    "honest": [{"who": "reader", "visits": 900, "requests": 10_000, "refused": 0, "unanswered": 0}],
    "served": 1.0,
    "attacks": ROWS,
    "blocks": [{"host": "attacker", "began": 201.08, "ended": 261.0}],
    "forged": {"host": "client", "packets": 1000, "refused": 1000, "began": 300.0, "ended": 320.0},
    "scheduled": 4,
}


def changed(number: int, **changes: Any) -> Raw:
    """The good evidence with one attack changed."""
    rows = [{**each, **(changes if place == number else {})} for place, each in enumerate(ROWS)]
    return {**GOOD, "attacks": rows}


def blocked(host: str, began: float) -> Raw:
    return {**GOOD, "blocks": [{"host": host, "began": began, "ended": None}]}


def test_attacks_that_are_seen_and_stopped_hold() -> None:
    verdict = judged(DetectionExperiment(), GOOD)
    assert (verdict.holds, verdict.because) == (True, "each of 4 attacks was seen")
    assert verdict.numbers["ports_share"] == pytest.approx(200 / 65_535)
    assert verdict.numbers["false_blocks_a_request_at_most"] == pytest.approx(3e-4, rel=0.01)


@pytest.mark.parametrize(
    ("evidence", "because"),
    [
        (changed(0, seen=None), "nmap -p-: not seen"),
        ({**changed(0, seen=None), "detector": False}, "nmap -p-: not seen; nobody watches (--ids on does)"),
        (changed(2, blocked=None), "brute force: not stopped"),
        (changed(0, seen=201.06), "nmap -p-: seen 60 ms after it had shown itself"),
        (changed(0, blocked=201.3), "nmap -p-: blocked 300 ms after it had shown itself"),
        (changed(0, before=700), "nmap -p- got 1.07% of the ports"),
        (changed(2, blocked=202.2), "brute force: blocked 1200 ms after it had shown itself"),
        (changed(3, served=0.8), "SYN flood: 0.80 of the normal service from its second second on"),
        (changed(4, served=0.8), "SYN flood as client: 0.80 of the normal service from its second second on"),
        (blocked("client", 150.0), "client was blocked, and had done nothing"),
        (changed(0, misnamed=["client"]), "client: named, and had done nothing"),
        ({**GOOD, "named": ["client"]}, "client: named, and had done nothing"),
    ],
)
def test_what_is_missed_late_or_blamed_fails(evidence: Raw, because: str) -> None:
    verdict = judged(DetectionExperiment(), evidence)
    assert (verdict.holds, verdict.because) == (False, because)


def test_a_client_that_is_blocked_for_forgeries_fails_by_that_name() -> None:
    result = checks._never_the_client(DetectionEvidence.parse(blocked("client", 310.0)))
    assert (result.holds, result.because) == (False, "client was blocked for what another had forged")
    assert judged(DetectionExperiment(), blocked("client", 310.0)).holds is False


@pytest.mark.parametrize(
    "evidence",
    [
        {**GOOD, "honest_while": None},
        {**GOOD, "attacks": []},
        {**GOOD, "honest": []},
        {**GOOD, "served": None},
        {**GOOD, "forged": None},
        {**GOOD, "forged": {**GOOD["forged"], "refused": 3}},
        {**GOOD, "scheduled": 5},
        {**GOOD, "stopped": "nmap -sS: the switch has gone"},
        {**GOOD, "left_out": ["nmap -sS"]},
        changed(0, sent=0, whole=65_535, before=0),
        changed(2, sent=0, before=0, seen=None, blocked=None, owed=None),
        changed(1, seen=203.0),
        changed(1, blocked=203.0),
        changed(1, before=100),
    ],
)
def test_what_was_not_measured_or_has_no_control_is_unknown(evidence: Raw) -> None:
    assert judged(DetectionExperiment(), evidence).holds is None


def test_an_attack_that_is_stopped_before_it_has_shown_itself_was_stopped_in_time() -> None:
    verdict = judged(DetectionExperiment(), changed(2, owed=None))
    assert (verdict.holds, verdict.numbers["login_blocked_s"]["max"]) == (True, 0.0)


def test_what_was_over_before_it_was_stopped_needs_no_control_that_got_further() -> None:
    assert judged(DetectionExperiment(), changed(0, before=300)).holds is True
    over = {
        **changed(0, before=300),
        "attacks": [row("nmap -p-", before=300), row("nmap -p-", **{**UNWATCHED, "before": 90}), *ROWS[2:]],
    }
    assert judged(DetectionExperiment(), over).holds is True


def test_a_host_that_attacks_is_not_honest_meanwhile_and_again_afterwards() -> None:
    both = row("spraying", LOGIN, sources=["attacker", "client"], kinds=["spraying"], began=400.0, owed=401.0)
    told = {**both, "seen": 401.1, "blocked": 401.2, "kind": "spraying"}
    after = row("probing", "probing", began=500.0, owed=None, seen=501.0, blocked=501.0)
    evidence = {**GOOD, "attacks": [*ROWS, told, after], "scheduled": 6}
    for began, holds in ((401.1, True), (501.0, False)):
        guilty = {**evidence, "blocks": [{"host": "client", "began": began, "ended": None}]}
        assert judged(DetectionExperiment(), guilty).holds is holds


def test_it_is_shown_and_drawn() -> None:
    evidence = DetectionEvidence.parse({**GOOD, "left_out": ["sqlmap"]})
    shown = show.show(evidence, checks.judge(evidence))
    assert "nmap -p-             scan     20       80       0.3%     13.7%    99.0%" in shown
    assert "reader: 900 visits, 10,000 requests, 0 refused, 0 not answered" in shown
    assert "left out, the program is missing: sqlmap" in shown
    assert "<td>SYN flood</td>" in show.page(evidence)
    assert all(png(plot).startswith(b"\x89PNG") for plot in show.plots(evidence))
    nothing = DetectionEvidence.parse({**GOOD, "attacks": [row("nmap -sS", seen=None, kind=None, blocked=None)]})
    assert "not seen" in show.show(nothing, checks.judge(nothing))
    assert show.plots(nothing) == []


# --- attacks -------------------------------------------------------------------------------------------------------


def test_the_attacks_are_those_of_the_plan(plan: Plan) -> None:
    found = attacks(plan, "victim")
    assert len({each.name for each in found}) == len(found)
    hosts = {host.name for host in plan.hosts}
    assert all(set(each.sources) <= hosts for each in found)
    words = " ".join(word for each in found for program in each.programs.values() for word in program)
    assert all(kind in words for kind in ("-sS", "-sT", "-sU", "-sX", "-PE", "-p-", "15s"))
    assert {program for each in found for program in needed(each)} == {"nmap", "sqlmap", "nikto"}
    assert [each.name for each in found if each.slow] == ["one probe every 15 s"]


def test_attacks_are_chosen_by_a_word(plan: Plan) -> None:
    every = attacks(plan, "victim")
    assert chosen(every, "all") == every
    assert [each.name for each in every if each not in chosen(every, "quick")] == ["one probe every 15 s"]
    assert [each.name for each in chosen(every, "sweep")] == ["ping sweep", "ARP sweep"]
    assert [each.name for each in chosen(every, "brute,slow")] == ["slowloris", "slow POST", "brute force"]
    with pytest.raises(UsageError, match="--attacks nmpa: none is called so; there are: nmap -sS, "):
        chosen(every, "nmpa")


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp"])
def test_a_floods_packets_are_whole(protocol: str) -> None:
    """Otherwise they would be denied as invalid, by another rule and at another price."""
    frame = flood.frame(bytes(12), protocol, bytes([10, 0, 1, 66]), bytes([10, 0, 3, 11]), (20_000, 3306))
    assert parse(frame) == Headers("10.0.1.66", "10.0.3.11", protocol, 8 if protocol == "icmp" else 3306)
    ip, content = frame[14:34], frame[34:]
    assert flood.checksum(ip) == 0
    pseudo = b"" if protocol == "icmp" else ip[12:20] + bytes([0, ip[9], 0, len(content)])
    assert flood.checksum(pseudo + content) == 0


def test_a_flood_has_many_sources_and_ports_when_it_is_to() -> None:
    settings = {"macs": ["02:00:00:00:00:01", "02:00:00:00:00:02"], "dst": "10.0.2.10", "port": 0}
    heads = [parse(frame) for frame in flood.frames({**settings, "src": "random"})]
    assert len({head.src for head in heads}) > 900
    assert len({head.port for head in heads}) == len(heads)
    assert {parse(frame).src for frame in flood.frames({**settings, "src": "10.0.1.10"})} == {"10.0.1.10"}


def test_what_a_killed_program_was_writing_is_left_out() -> None:
    output = '{"time": 1.5, "count": 2, "status": 401}\nTraceback\n[1]\n{"time": 2.5, "cou'
    assert list(webattacker.lines(output)) == [{"time": 1.5, "count": 2, "status": 401}]


# --- what is counted -----------------------------------------------------------------------------------------------


def capture(frames: list[tuple[float, bytes]]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    body = [struct.pack("<IIII", int(at), round(at % 1 * 1e6), len(data), len(data)) + data for at, data in frames]
    return head + b"".join(body)


def test_different_denied_targets_are_counted(plan: Plan) -> None:
    rules, lb, attacker = policy(plan), bytes([10, 0, 2, 10]), bytes([10, 0, 1, 66])
    ports = (443, 1, 2, 2, 3, 80, 4, 5)
    sent = [(100.0 + n, flood.frame(bytes(12), "tcp", attacker, lb, (9, port))) for n, port in enumerate(ports)]
    other = flood.frame(bytes(12), "tcp", bytes([10, 0, 1, 10]), lb, (9, 7))
    deeds = list(
        scoring.sent_by(
            "10.0.1.66",
            capture([(99.0, other), *sent]),
            lambda headers: may_pass(plan, rules, "attacker", headers),
        )
    )
    assert [deed.denied for deed in deeds] == [False, True, True, True, True, False, True, True]
    assert scoring.nth_denied(deeds, DENIED) == 106.0
    assert scoring.nth_denied(deeds, 6) is None
    assert (scoring.in_all(deeds), scoring.in_all(deeds, 103.5)) == (7, 3)


def test_an_address_that_nobody_has_is_denied_and_asking_for_one_that_is_there_is_not(plan: Plan) -> None:
    rules = policy(plan)
    for dst, proto, passes in (("10.0.3.77", "arp", False), ("10.0.3.77", "tcp", False), ("10.0.2.10", "arp", True)):
        assert may_pass(plan, rules, "attacker", Headers("10.0.1.66", dst, proto, 443)) is passes


def test_a_source_has_shown_itself_when_each_has(plan: Plan) -> None:
    attack = Attack("spraying", LOGIN, {"attacker": ("x",), "client": ("x",)}, ("spraying",), 10)
    failing = [Deed(10.0 + n, status=401 if n % 2 else 429) for n in range(12)]
    assert owed(attack, {"attacker": failing, "client": failing[1:]}) == 19.0
    assert owed(attack, {"attacker": failing, "client": failing[:4]}) is None
    assert owed(Attack("SYN flood", FLOOD, {"attacker": ("x",)}, ("flood",), 10), {"attacker": failing}) is None


def test_service_is_an_answer_in_time() -> None:
    def outcome(at: float, status: int | None = 200, latency: float = 0.1) -> dict[str, Any]:
        return {"time": at, "status": status, "latency_s": latency, "who": "reader", "begins": at == 1.0}

    outcomes = [outcome(1.0), outcome(2.0, None, 3.0), outcome(3.0, 503), outcome(4.0, 200, 1.5), outcome(5.0, 429)]
    assert scoring.served(outcomes, 1.0, 5.0) == 0.25
    assert scoring.served(outcomes, 7.0, 9.0) is None
    assert scoring.honest_rows(outcomes) == [
        {"who": "reader", "visits": 1, "requests": 5, "refused": 1, "unanswered": 1}
    ]


# --- honest visitors -----------------------------------------------------------------------------------------------

FORM = '<form action="{}"><input name="csrf_token" value="t">{}</form>'
FIELDS = {"/signup": ("name", "password"), "/login": ("name", "password"), "/messages": ("message",)}


class SmallSite:
    """The site's forms, and nothing behind them: it lets somebody in at the n-th password."""

    def __init__(self, right_at: int = 1) -> None:
        self.right_at = right_at
        self.asked: list[Ask] = []

    def answer(self, ask: Ask) -> SiteAnswer:
        self.asked.append(ask)
        path = ask.path.split("?")[0]
        if ask.method == "POST" and path == "/login":
            tries = sum(each.method == "POST" and each.path == "/login" for each in self.asked)
            return SiteAnswer(303, "", "/messages") if tries >= self.right_at else SiteAnswer(401, self.page("/login"))
        if ask.method == "POST":
            return SiteAnswer(303, "", {"/signup": "/login", "/messages": "/messages", "/logout": "/"}[path])
        return SiteAnswer(200 if path in ("/", "/static/a.css", "/robots.txt", *FIELDS) else 404, self.page(path))

    def page(self, path: str) -> str:
        inputs = "".join(f'<input name="{name}">' for name in FIELDS.get(path, ()))
        links = '<a href="/messages">m</a><a class="x" href="/login">l</a><a href="#main">s</a>'
        return f'<link href="/static/a.css">{links}{FORM.format("/logout", "")}{FORM.format(path, inputs)}'

    def visited(self, visit: Visit) -> list[str]:
        ask = next(visit)
        try:
            while len(self.asked) < 500:
                ask = visit.send(self.answer(ask))
        except StopIteration:
            pass
        return [f"{each.method} {each.path}" for each in self.asked]


def test_a_member_signs_up_logs_in_writes_and_leaves() -> None:
    asked = SmallSite().visited(member(Random(3), "a"))
    assert [each for each in dict.fromkeys(asked) if each.startswith("POST")] == [
        "POST /signup",
        "POST /login",
        "POST /messages",
        "POST /logout",
    ]
    assert asked.count("GET /static/a.css") == 1, "a browser keeps it"
    assert asked.count("POST /login") == 1


def test_who_forgets_a_password_twice_remembers_it_then() -> None:
    site = SmallSite(right_at=3)
    asked = site.visited(forgetful(Random(3), "a"))
    assert asked.count("POST /login") == 3
    assert len({each.body for each in site.asked if each.method == "POST" and each.path == "/login"}) == 3
    assert asked[-2:] == ["POST /logout", "GET /"]


def test_a_crawler_follows_links_and_ends() -> None:
    site = SmallSite()
    asked = site.visited(crawler(Random(1), "a"))
    assert asked[0] == "GET /robots.txt"
    assert {"HEAD /", "GET /messages", "GET /login"} <= set(asked)
    assert len(asked) < 60
    assert "ExampleBot" in site.asked[0].headers["User-Agent"]


def test_others_come_and_go() -> None:
    assert SmallSite().visited(reader(Random(1), "a"))[0] == "GET /"
    assert set(SmallSite().visited(misconfigured(Random(1), "a"))) == {"GET /feed.xml"}
    come = [drawn(PASSERS_BY, Random(number)).__name__ for number in range(200)]  # type: ignore[attr-defined]
    assert set(come) == {"reader", "crawler", "misconfigured"}
    assert {drawn(MEMBERS, Random(number)) for number in range(50)} == {member, forgetful}


def test_a_page_without_its_form_ends_a_visit() -> None:
    class RefusingSite(SmallSite):
        def answer(self, ask: Ask) -> SiteAnswer:
            return SiteAnswer(403, "refused") if ask.path == "/signup" else super().answer(ask)

    with pytest.raises(LookupError):
        RefusingSite().visited(member(Random(1), "a"))


@pytest.mark.parametrize("who", [*PASSERS_BY, *MEMBERS])
def test_a_visit_ends_in_order_whichever_of_its_answers_is_an_error(who: Callable[[Random, str], Visit]) -> None:
    """One that ended by an error of its own took the whole crowd with it, at the end of the run."""

    class FailingSite(SmallSite):
        def __init__(self, failing: int) -> None:
            super().__init__(right_at=3 if who is forgetful else 1)
            self.failing = failing

        def answer(self, ask: Ask) -> SiteAnswer:
            good = super().answer(ask)
            return SiteAnswer(503, "busy") if len(self.asked) == self.failing else good

    for failing in range(1, 40):
        with suppress(LookupError):
            FailingSite(failing).visited(who(Random(3), "a"))


def test_what_asks_one_target_only_is_counted_by_packets(plan: Plan) -> None:
    testbed = SimpleNamespace(plan=plan, rules=policy(plan))
    assault = Assault(testbed, None, None)  # type: ignore[arg-type]
    lb, attacker = bytes([10, 0, 2, 10]), bytes([10, 0, 1, 66])
    sent = capture([(100.0 + n, flood.frame(bytes(12), "tcp", attacker, lb, (9, 443))) for n in range(5)])
    found = {each.name: each for each in attacks(plan, "victim")}
    for name, count in (("sqlmap", 5), ("nmap -sS", 1)):
        deeds = assault._deeds(found[name], {}, {"attacker": sent})
        assert scoring.in_all(deeds["attacker"]) == count


def test_the_evidence_goes_through_json() -> None:
    assert DetectionEvidence.parse(json.loads(json.dumps(GOOD))).own()["client"] == "client"


def test_the_cost_of_being_guarded_is_judged() -> None:
    value = {"dynamic page": 98.0, "static file": 100.0, "processor": 0.05}
    rows = [{"guarded": value, "detector stopped": {**value, "dynamic page": 100.0, "processor": 0.01}}] * 5
    met = {series.measure: series.judged("x")["met"] for series in detection_overhead.report(rows).series}
    assert met == {"dynamic page": True, "static file": True, "processor": True}
    dear = [{**rows[0], "guarded": {"dynamic page": 90.0, "static file": 90.0, "processor": 0.2}}] * 5
    assert not any(series.judged("x")["met"] for series in detection_overhead.report(dear).series)
