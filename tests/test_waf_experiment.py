"""waf: attacks, honest texts, what becomes of them, and the judge with good, bad and inconclusive evidence."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from experiments.engine.base import judged
from experiments.engine.drawing import png
from experiments.engine.numbers import upper_bound
from experiments.instruments.load import Session
from experiments.waf import attackmatrix, attacktexts, corpora, effects, firewallswitch, protocoltricks, show, tiers
from experiments.waf.attackmatrix import WebAttack
from experiments.waf.evidence import WafEvidence
from experiments.waf.experiment import SPOILT, Waf
from experiments.waf.measure import count, judging, sampled, shared
from experiments.waf.sender import RawAnswer
from experiments.waf.webrequest import form, page, program
from services.nginx import Shield
from services.waf import refusal
from topo.errors import MissingError

SESSION = Session("__Host-session=eyJpZCI6MX0.aSrk.c2lnbmVk", "token.of.theirs")
ALL = attackmatrix.attacks(Random(1), SESSION)

REFUSED = {"by": "firewall", "status": 403, "request": "r-1", "worked": ""}
THROUGH = {"by": "application", "status": 401, "request": "r-2", "worked": ""}


def attack(kind: str, **changes: Any) -> dict[str, Any]:
    return {"input": "name", "kind": kind, "text": "' OR 1=1", "answer": REFUSED, "bare": THROUGH, **changes}


GOOD: dict[str, Any] = {
    "schema": 1,
    "shielded": True,
    "attacks": [
        *(attack(kind) for kind in attacktexts.KINDS),
        attack(attacktexts.SQL, input="message", answer=THROUGH),
        attack(attacktexts.XSS, input="message"),
        attack(attacktexts.SQL, input="password", answer=THROUGH),
    ],
    "corpora": [
        {"corpus": "names", "kind": "typed", "judged": 2000, "refused": 0, "examples": []},
        {"corpus": corpora.FREE, "kind": "code", "judged": 5000, "refused": 0, "examples": []},
        {"corpus": corpora.FREE, "kind": "about HTML", "judged": 5000, "refused": 100, "examples": ["<b>"]},
    ],
    "wire": [{"corpus": "names", "sent": 10, "refused": 0, "otherwise": 0, "examples": []}],
    "cost": [{"page": "dynamic page", "ms": 1.3, "bare_ms": 0.5}],
    "scripts": 100,
    "scripts_refused": 100,
    "refusals": [8, 8],
    "finished": True,
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def row(name: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    """The good evidence with one row of a list changed."""
    rows = list(GOOD[name])
    rows[number] = {**rows[number], **changes}
    return changed(**{name: rows})


def answer(status: int = 200, body: str = "", seconds: float = 0.1, **headers: str) -> RawAnswer:
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return RawAnswer("\r\n".join([*lines, "", body]), seconds)


SERVERS = {"Content_Security_Policy": "default-src 'self'", "X_Served_By": "srv1"}  # nginx restricts browsers too
OURS = SERVERS | {"Vary": "Cookie"}


# --- the judge -----------------------------------------------------------------------------------------------------


def test_all_refused_and_nobody_honest_holds() -> None:
    verdict = judged(Waf(), GOOD)
    assert verdict.holds is True
    assert verdict.because == "all of 7 attacks outside of free text were refused"
    assert (verdict.numbers["honest_refused"], verdict.numbers["texts_refused"]) == (0, 100)
    assert verdict.numbers["honest_bound"] == pytest.approx(0.0015, abs=1e-4)


@pytest.mark.parametrize(
    ("evidence", "because"),
    [
        (row("attacks", answer=THROUGH), "1 of 7 attacks passed; SQL injection in name passed"),
        (row("attacks", 7, answer={**THROUGH, "worked": "it slept"}), "1 attacks had their way"),
        (row("attacks", 9, answer={**THROUGH, "worked": "it slept"}), "1 attacks had their way"),
        (changed(harm=["srv1:/tmp/waf-canary"]), "an attack left srv1:/tmp/waf-canary"),
        (row("corpora", refused=1, examples=["O'Brien"]), "1 of 2,000 honest requests are refused; names, typed"),
        (row("corpora", 2, refused=101), "101 of 10,000 honest requests are refused; free text"),
        (row("attacks", 8, answer=THROUGH) | {"scripts_refused": 90}, "90 of 101 scripts"),
        (row("wire", refused=1, examples=["O'Brien"]), "1 of 10 were refused: names"),
        (changed(refusals=[7, 8]), "7 of 8 refusals are on the monitoring host"),
        (
            changed(shielded=False) | {"attacks": [attack(attacktexts.SQL, answer=THROUGH, bare=None)]},
            "--waf off: 1 of 1",
        ),
    ],
)
def test_what_passes_works_or_is_refused_wrongly_fails(evidence: dict[str, Any], because: str) -> None:
    verdict = judged(Waf(), evidence)
    assert (verdict.holds, verdict.because[: len(because)]) == (False, because)


@pytest.mark.parametrize(
    "evidence",
    [
        changed(attacks=[]),
        changed(corpora=[]),
        changed(corpora=GOOD["corpora"][:1]),
        changed(wire=[]),
        row("wire", otherwise=1),
        row("attacks", 3, bare=REFUSED),
        changed(finished=False),
    ],
)
def test_what_was_not_measured_is_unknown(evidence: dict[str, Any]) -> None:
    assert judged(Waf(), evidence).holds is None


def test_a_testbed_without_monitoring_stores_nothing() -> None:
    assert judged(Waf(), changed(refusals=None)).holds is True


@pytest.mark.parametrize(
    ("seen", "of", "confidence", "bound"),
    [
        (0, 100_000, 0.95, 3.0e-5),
        (1, 1000, 0.95, 4.735e-3),
        (0, 10, 0.95, 0.2589),
        (0, 100, 0.975, 0.0362),
        (0, 10_000, 0.975, 0.000369),
        (3, 100, 0.975, 0.0852),
    ],
)
def test_the_bound_is_that_of_clopper_and_pearson(seen: int, of: int, confidence: float, bound: float) -> None:
    assert upper_bound(seen, of, confidence) == pytest.approx(bound, rel=2e-3)
    assert upper_bound(of, of) == upper_bound(0, 0) == 1


# --- attacks -------------------------------------------------------------------------------------------------------


def test_every_class_is_there_and_each_text_class_in_every_input() -> None:
    found = Counter((each.input, each.kind) for each in ALL)
    assert {kind for _, kind in found} == set(attacktexts.KINDS)
    for name, kind in itertools.product(attackmatrix.inputs(SESSION), attacktexts.KINDS[:4]):
        assert found[name, kind] >= 10, (name, kind)


def test_attacks_are_the_same_for_the_same_seed_and_each_has_its_own_number() -> None:
    assert attackmatrix.attacks(Random(1), SESSION) == ALL
    assert len({each.smuggled for each in ALL if each.smuggled}) == sum(bool(each.smuggled) for each in ALL) > 10
    assert not [each for each in ALL if b"{n" in each.raw or "{n" in each.proof]


def test_every_attack_is_a_request_in_bytes_and_every_proof_a_pattern() -> None:
    for each in ALL:
        re.compile(each.proof)
        assert each.raw.count(b"\r\n") >= 2, each
        if each.kind in attacktexts.KINDS[:4]:
            head, _, body = each.raw.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            assert len(body) == (int(length[1]) if length else 0), each


def test_a_share_of_the_attacks_has_some_of_each_class() -> None:
    few = list(shared(ALL, 0.02))
    assert {each.kind for each in few} == set(attacktexts.KINDS)
    assert len(few) < len(ALL) / 30
    assert list(shared(ALL, 1)) == ALL


def evil(each: WebAttack) -> str:
    """What a site with holes would answer: it runs, shows, and reads what it is given."""
    text = each.text
    if each.kind == attacktexts.SQL:
        return text.replace("CONCAT('waf','-", "waf-") + " You have an error in your SQL syntax"
    if each.kind == attacktexts.COMMAND:
        number = re.search(r"\d{7}", text)
        values = f"waf-{6 * int(number[0])} {7 * int(number[0])}" if number else ""
        return f"uid=0(root) gid=0 {values}"
    return f"root:x:0:0:root {text}"


@pytest.mark.parametrize("kind", attacktexts.KINDS[:4])
def test_a_site_with_holes_is_found_out_and_one_that_escapes_is_not(kind: str) -> None:
    """The control of all proofs: an attack that works shows, and its text alone, escaped, does not."""
    mine = [each for each in ALL if each.kind == kind]
    for each in mine:
        body = evil(each)
        assert effects.had_its_way(each, answer(200, body, **OURS)), each
        escaped = each.text.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;").replace('"', "&#34;")
        plain = (
            "<" not in each.text and kind == attacktexts.XSS
        )  # needs no sign that is escaped: only a link makes it run
        quiet = answer(401, f"<p>{escaped}</p>", Set_Cookie="x; Path=/", **OURS)
        assert plain or not effects.had_its_way(each, quiet), each


def test_what_sleeps_shows_by_its_time_and_json_is_no_page() -> None:
    sleeper = next(each for each in ALL if each.slow)
    assert effects.had_its_way(sleeper, answer(200, "", 3.2, **OURS)).startswith("the answer took 3.2 s")
    assert not effects.had_its_way(sleeper, answer(200, "", 0.5, **OURS))
    for each in (each for each in ALL if b"sleep" in each.raw.lower()):
        assert len(attacktexts.awake(each.raw)) == len(each.raw)
        assert attacktexts.awake(each.raw) != each.raw, each
    script = next(each for each in ALL if each.kind == attacktexts.XSS and "<script>" in each.text)
    assert effects.had_its_way(script, answer(200, script.text, **OURS))
    assert not effects.had_its_way(script, answer(200, script.text, Content_Type="application/json", **OURS))


@pytest.mark.parametrize(
    ("seen", "by", "refused"),
    [
        (answer(200, **OURS), effects.APPLICATION, False),
        (answer(401, **OURS), effects.APPLICATION, False),
        (answer(403, Shield.says, **SERVERS), effects.FIREWALL, True),
        (answer(404, **SERVERS), effects.SERVER, True),
        (answer(200, **SERVERS), effects.SERVER, False),
        (answer(400), effects.BALANCER, True),
        (RawAnswer("", 6.0), effects.NOBODY, True),
        (RawAnswer("<html>of 1991", 0.1), effects.BALANCER, True),
    ],
)
def test_each_part_of_the_site_is_known_by_its_headers(seen: RawAnswer, by: str, refused: bool) -> None:
    told = effects.answered(ALL[0], seen)
    assert (told["by"], effects.refused(told)) == (by, refused)


def test_a_text_that_stands_on_the_board_as_it_was_written_had_its_way() -> None:
    script = next(each for each in ALL if each.input == "message" and "<script>" in each.text)
    (told,) = effects.stored([script], [effects.answered(script, answer(303, **OURS))], f"<li>{script.text}</li>")
    assert told["worked"] == "it stands on the board"
    (told,) = effects.stored([script], [effects.answered(script, answer(303, **OURS))], "<li>&lt;script&gt;</li>")
    assert told["worked"] == ""


def test_a_request_that_only_a_server_saw_was_smuggled() -> None:
    hidden = next(each for each in ALL if each.smuggled)
    seen = tiers.hidden({}, {hidden.smuggled: 1}, [hidden.smuggled])
    (told,) = effects.smuggled([hidden], [effects.answered(hidden, answer(400))], seen)
    assert told["worked"] == "a request reached a server unseen"
    assert tiers.hidden({hidden.smuggled: 1}, {hidden.smuggled: 1}, [hidden.smuggled]) == set()


def test_every_trick_of_smuggling_hides_a_second_request() -> None:
    for trick in protocoltricks.tricks(SESSION):
        if trick.kind == attacktexts.SMUGGLING:
            assert trick.raw.count(b"/smuggled-{n} HTTP/1.1\r\n") == 1, trick.name


# --- honest people -------------------------------------------------------------------------------------------------


def test_the_corpora_are_many_and_different_and_the_same_for_the_same_seed() -> None:
    made = list(corpora.corpora(Random(3), 500))
    assert made == list(corpora.corpora(Random(3), 500))
    found = Counter(each.corpus for each in made)
    assert (found.pop(corpora.FREE), set(found.values())) == (500, {100})
    texts = [each.text for each in made if each.corpus == corpora.FREE]
    assert len(set(texts)) > 400
    joined = "\n".join(texts)
    for needed in ("ü", "И", "世", "😀", "SELECT", "O'Brien", "def ", '"', "&", "\n"):
        assert needed in joined, needed
    assert max(map(len, texts)) >= corpora.LONGEST


def test_honest_requests_are_what_the_site_takes() -> None:
    asked = form("/login", {"name": "Zoë", "password": "a&b=c"}, SESSION)
    assert asked.raw.split(b"\r\n")[0] == b"POST /login HTTP/1.1"
    assert asked.body == b"csrf_token=token.of.theirs&name=Zo%C3%AB&password=a%26b%3Dc"
    assert b"X-CSRFToken: token.of.theirs\r\n" in program({"message": "ü"}, SESSION).raw
    assert page("/", SESSION).judged.headers[-1] == ("X-Forwarded-Proto", "https")


def test_few_of_those_that_need_a_password_are_sent() -> None:
    sample = Counter(each.corpus for each in sampled(iter(list(corpora.corpora(Random(4), 300, SESSION)))))
    assert sample["names"] + sample["passwords"] <= 30
    assert sample[corpora.FREE] == 60


def test_what_was_refused_is_counted_by_kind_with_examples() -> None:
    rows: dict[tuple[str, str], Any] = {}
    for number, each in enumerate(corpora.corpora(Random(5), 40)):
        count(rows, each, number % 2 == 0)
    assert sum(each["judged"] for each in rows.values()) == 40 + 5 * 8
    assert all(bool(each["examples"]) == bool(each["refused"]) for each in rows.values())


@pytest.fixture(scope="module", params=["nothing", "asleep", "strict"])
def spoilt(request: pytest.FixtureRequest) -> Any:
    try:
        with judging(request.param) as judge:
            yield request.param, judge
    except MissingError as error:
        pytest.skip(str(error))


def test_the_rules_refuse_scripts_and_no_honest_input_and_each_control_is_found_out(spoilt: Any) -> None:
    what, judge = spoilt
    honest = [each for each in corpora.corpora(Random(6), 100) if each.corpus != corpora.FREE]
    wrong = [each.text for each in honest if judge.status(each.request.judged)]
    texts = list(attacktexts.scripts())
    refused = sum(judge.status(form("/messages", {"message": text}, SESSION).judged) != 0 for text in texts)
    assert (bool(wrong), refused == len(texts)) == {"nothing": (False, True), "asleep": (False, False)}.get(
        what, (True, True)
    ), wrong[:3]


def test_the_rules_refuse_every_text_of_every_class_in_every_closed_input(spoilt: Any) -> None:
    what, judge = spoilt
    through = [
        (name, payload.text)
        for kind in attacktexts.KINDS[:4]
        for payload in attacktexts.payloads(kind)[: attacktexts.FEW_SCRIPTS]
        for name, asked in attackmatrix.inputs(SESSION).items()
        if name not in attackmatrix.OPEN and not judge.status(asked(payload.numbered(1_234_567).text).judged)
    ]
    assert bool(through) == (what == "asleep"), through[:3]


def test_every_control_is_offered_and_changes_the_rules() -> None:
    rules = "SecRuleEngine On\nSecAuditEngine RelevantOnly\n"
    assert set(SPOILT) == set(firewallswitch.SPOILING)
    assert [firewallswitch.SPOILING[what](rules) != rules for what in SPOILT] == [False, True, True, True]


def test_a_refusal_whose_bytes_are_no_characters_is_stored_as_a_refusal() -> None:
    details = {"ruleId": "1259", "data": "Matched Data: \xc0 found within ARGS:name", "match": ""}
    audit = {
        "transaction": {
            "client_ip": "10.0.1.11",
            "time_stamp": "Sun Nov 29 09:03:22 2026",
            "unique_id": "r-1",
            "request": {"method": "GET", "uri": "/login"},
            "response": {"http_code": 403},
            "messages": [{"message": "no characters", "details": details}],
        }
    }
    line = json.dumps(
        {"file": "LOG", "line": json.dumps(audit, ensure_ascii=False)}, ensure_ascii=False, separators=(",", ":")
    )
    cut = line.replace("LOG", refusal.LOG).encode("latin-1")
    assert json.loads(json.loads(refusal.as_stored(cut))["line"])["id"] == "r-1"


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_matrix_and_the_numbers_are_shown() -> None:
    evidence = WafEvidence(**GOOD)
    said = show.show(evidence, judged(Waf(), GOOD))
    assert re.search(r"^message +0/1 +1/1 +-", said, re.M)
    assert re.search(r"^all +1/3 +2/2 +1/1", said, re.M)
    assert "about HTML" in said
    assert "1.30 ms of processor time a request, 0.50 ms without the firewall" in said
    worked = WafEvidence(**row("attacks", answer={**THROUGH, "worked": "it slept"}))
    assert 'SQL injection in name: "\' OR 1=1": it slept' in show.show(worked, judged(Waf(), GOOD))


def test_the_page_shows_attacks_as_text() -> None:
    shown = show.page(WafEvidence(**row("attacks", text="<script>", answer=THROUGH)))
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def test_the_plot_is_drawn() -> None:
    (plot,) = show.plots(WafEvidence(**GOOD))
    assert [series.label for series in plot.series] == ["as it is", "without the firewall"]
    assert png(plot).startswith(b"\x89PNG")
    assert show.plots(WafEvidence()) == ()
