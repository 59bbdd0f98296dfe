"""The web application firewall: its rules, judged by the library that nginx loads, and what it says of a refusal."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judgedclient import shared_engine

from services.site.routes import COOKIE, FILES, ROUTES, Field, PageRoute
from services.waf import refusal
from services.waf.engine import Engine, JudgedRequest, engine
from services.waf.refusal import SCANNERS
from testbed.commands import do_waf

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BROWSER = (("Host", "www.foobar.com"), ("User-Agent", FIREFOX), ("Accept", "text/html,*/*;q=0.8"))
TOKEN = "IjY0YmQ0.ZWxsbw.aGVsbG8-_x"
#: what attacks are made of; none of it can be meant in an input with a pattern
ATTACKS = (
    "' OR '1'='1",
    "1; DROP TABLE users",
    "1 UNION SELECT name, password FROM users",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "$(id)",
    "| cat /etc/passwd",
    "a\r\nSet-Cookie: x=y",
    "{{7*7}}",
    "\0",
)
#: for each input with a pattern, what an honest visitor may send; a new input needs its line here
HONEST = {
    "name": (
        "",
        "alice",
        "O'Brien",
        "Müller",
        "Anne-Marie Smith",
        "J. R. R. Tolkien",
        "Smith, John",
        "a@b.org",
        "名前",
        " bob ",
    ),
    "csrf_token": ("", TOKEN),
    "idempotency_key": ("", "0f2c1a4e-5b6d-4c3b-9a8e-7d6c5b4a3f2e", "key:1_a.b"),
    "before": ("", "1", "999999999999999999"),
}
FREE = (
    "Grüße aus Köln, schöne Straße! „Ja“, sagte er.",
    "Ich sag's dir: 'so' oder \"so\" -- egal; O'Brien & Söhne",
    "SELECT name FROM users WHERE id = 1 OR 1=1; -- is how you select",
    "for (int i = 0; i < n; i++) { a[i] = b[i] && c > 0; }",
    "$ cat /etc/passwd | grep root; ls ../../ && echo `id` $(whoami)",
    "if a < b and b > c: print(f'{x!r} <= 100 %')",
    "👋🏽 日本語 العربية Ελληνικά русский ő ñ",
    "https://example.org/?q=1&r=%20x#top and C:\\Windows\\System32",
    "x" * 500,
    "one\r\ntwo\r\n\r\n\tthree <3",
)
SCRIPTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "<a href='javascript:x()'>",
)


@pytest.fixture(scope="module")
def judge() -> Engine:
    loaded = shared_engine()
    if loaded is None:
        pytest.skip("libmodsecurity is not installed")
    return loaded


def asked(target: str, *headers: tuple[str, str], method: str = "GET", own: bool = True) -> JudgedRequest:
    return JudgedRequest(method, target, ((*BROWSER, *headers) if own else headers))


def sent(path: str, fields: Any, kind: str = "application/x-www-form-urlencoded") -> JudgedRequest:
    body = (json.dumps(fields) if kind.endswith("json") else urlencode(fields)).encode()
    return JudgedRequest("POST", path, (*BROWSER, ("Content-Type", kind), ("Content-Length", str(len(body)))), body)


def with_field(route: PageRoute, field: Field, value: str) -> Iterator[JudgedRequest]:
    """The requests that carry a value in an input, in each way in which the page takes it."""
    if field in route.query:
        yield asked(f"{route.path}?{field.name}={quote(value)}")
    if field in route.form:
        yield sent(route.path, {field.name: value})
        if route.as_json:
            yield sent(route.path, {field.name: value}, "application/json")


INPUTS = [pytest.param(route, field, id=f"{route.path}-{field.name}") for route in ROUTES for field in route.fields]
FIRM = [parameters for parameters in INPUTS if parameters.values[1].pattern is not None]
OPEN = [parameters for parameters in INPUTS if parameters.values[1].pattern is None]


@pytest.mark.parametrize(("route", "field"), FIRM)
def test_an_input_takes_what_can_be_in_it_and_nothing_else(judge: Engine, route: PageRoute, field: Field) -> None:
    for value in HONEST[field.name]:
        assert [judge.refusal(request) for request in with_field(route, field, value)] in ([None], [None, None]), value
    for value in ATTACKS:
        for request in with_field(route, field, value):
            assert judge.status(request) == 403, value


@pytest.mark.parametrize(("route", "field"), OPEN)
def test_where_anything_may_be_written_words_of_attacks_are_words(
    judge: Engine, route: PageRoute, field: Field
) -> None:
    for value in (*FREE, *(ATTACKS[:3] if field.free else (*ATTACKS, *SCRIPTS))):
        for request in with_field(route, field, value):
            assert judge.refusal(request) is None, value


def test_scripts_are_refused_where_others_would_read_them(judge: Engine) -> None:
    for script in SCRIPTS:
        for kind in ("application/x-www-form-urlencoded", "application/json"):
            refused = judge.refusal(sent("/messages", {"message": f"hello {script} there"}, kind))
            assert refused is not None
            assert 941000 < refused.rule[0] < 942000
            assert refused.target.removeprefix("ARGS:") in ("message", "json.message")
            assert refused.matched


@given(
    password=st.text(min_size=8, max_size=128), text=st.text("aäß漢é 👋'\"-;,.()?!", max_size=200), seed=st.integers()
)
def test_passwords_texts_and_tokens_are_never_refused(password: str, text: str, seed: int) -> None:
    judge = shared_engine()
    if judge is None:
        pytest.skip("libmodsecurity is not installed")
    random_text = random.Random(seed).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", k=400)
    token = "".join(random_text[:91])
    password = password.encode("utf-8", "replace").decode()
    signed_up = sent("/signup", {"name": "alice", "password": password, "csrf_token": f"{token}.{token[:6]}"})
    assert judge.refusal(signed_up) is None
    assert judge.refusal(sent("/messages", {"message": text, "csrf_token": token})) is None
    assert judge.refusal(asked("/messages", ("Cookie", f"{COOKIE.name}=.{''.join(random_text)}.{token[:6]}"))) is None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.methods[-1]} {route.path}")
def test_a_page_takes_its_methods_and_its_inputs(judge: Engine, route: PageRoute) -> None:
    sends = any("POST" in other.methods for other in ROUTES if other.path == route.path)
    assert judge.status(asked(route.path)) == judge.status(asked(route.path, method="HEAD")) == 0
    assert judge.status(sent(route.path, {})) == (0 if sends else 403)
    for method in ("PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "get", "X"):
        assert judge.status(asked(route.path, method=method)) == 403
    assert judge.status(asked(f"{route.path}?stranger=1")) == 403
    for field in route.fields:
        assert judge.status(asked(f"{route.path}?{field.name}=1&{field.name}=1")) == 403


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *((f"/{name}", 0) for name in FILES),
        ("/nothing", 404),
        ("/wp-admin/setup", 404),
        ("/.env", 403),
        ("/index.php", 403),
        ("/../etc/passwd", 403),
        ("/%2e%2e/etc/passwd", 403),
        ("/messages/..%2f", 403),
        ("/messages;x=1", 403),
        ("http://evil/", 403),
        ("//evil/", 404),
    ],
)
def test_addresses(judge: Engine, target: str, status: int) -> None:
    assert judge.status(asked(target)) == status


def test_a_scanner_is_known_by_the_name_that_it_gives_itself(judge: Engine) -> None:
    """Before its name counts as an odd one, whose refusal says less (services/detection/readers.py)."""
    for name in ("sqlmap/1.7.2#stable (https://sqlmap.org)", "Mozilla/5.00 (Nikto/2.1.6) (Evasions:None)", "ffuf"):
        others = [header for header in BROWSER if header[0] != "User-Agent"]
        refusal = judge.refusal(asked("/messages?before=1", *others, ("User-Agent", name), own=False))
        assert refusal is not None
        assert set(refusal.rule) & set(SCANNERS), name


@pytest.mark.parametrize(
    ("name", "honest", "attacks"),
    [
        ("Host", ("www.foobar.com:443",), ("evil/x", "a' or 1=1--")),
        (
            "User-Agent",
            (
                "curl/7.88.1",
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605.1 Mobile/15E148 [FBAN/FBIOS;FBDV/iPhone12,1]",
                "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
            ),
            ("sqlmap/1.7#stable", "() { :;}; /bin/id", "Nikto/2.5", "x' or '1'='1", "<script>", "${jndi:ldap://x/}"),
        ),
        (
            "Referer",
            ("https://www.foobar.com/messages?before=3", "https://search.example/"),
            ("javascript:x", "https://x/<a>"),
        ),
        ("Accept-Language", ("de-DE,de;q=0.9,en;q=0.5",), ("' or 1=1", "../../etc/passwd", "; id", "<x>")),
        ("Sec-CH-UA", ('"Not;A=Brand";v="99", "Chromium";v="124"',), ('"<script>";v="1"',)),
        ("Cookie", (f"{COOKIE.name}=a.b-c_d; _ga=GA1.1.3.4",), (f"{COOKIE.name}=' or 1=1", "a=../x", "a=<b>", "<=b")),
        ("Content-Type", ("application/json; charset=utf-8",), ("text/xml", "multipart/form-data; boundary=x", "%{x}")),
        ("X_Y", (), ("a",)),
    ],
)
def test_headers(judge: Engine, name: str, honest: tuple[str, ...], attacks: tuple[str, ...]) -> None:
    for value in honest:
        others = [header for header in BROWSER if header[0] != name]
        assert judge.refusal(asked("/", *others, (name, value), own=False)) is None, value
    for value in attacks:
        assert judge.status(asked("/", (name, value))) == 403, value


def test_bodies_that_two_readers_could_read_differently(judge: Engine) -> None:
    two = JudgedRequest(
        "POST", "/messages", (*BROWSER, *(("Content-Type", kind) for kind in ("application/json",) * 2))
    )
    half = sent("/messages", {})
    for request in (
        two,
        JudgedRequest("POST", "/messages", (*half.headers[:-2], ("Content-Type", "application/json")), b'{"message":'),
        sent("/messages", {"message": {"x": "y"}}, "application/json"),
        sent("/messages", ["x"], "application/json"),
        sent("/messages", [("message", "a"), ("message", "b")]),
    ):
        assert judge.status(request) == 403, request


def test_the_balancers_own_checks_pass(judge: Engine) -> None:
    assert judge.refusal(asked("/healthz", ("Host", "www.foobar.com"), own=False)) is None


def test_without_rules_nothing_is_refused(judge: Engine) -> None:
    """A negative control: it is the rules that refuse, and the library that judges by them."""
    attack = asked("/messages?before=1%27%20or%201")
    assert judge.status(attack) == 403
    with engine(("SecRuleEngine On",)) as idle:
        assert idle.status(attack) == 0
    with engine(('SecRuleEngine On\nSecRule ARGS:before "@contains or" "id:1,phase:2,deny,status:418"',)) as other:
        assert other.status(attack) == 418


# --- what is said of a refusal -------------------------------------------------------------------------------------

AUDITED = {
    "client_ip": "10.0.1.66",
    "time_stamp": "Sun Nov 29 08:46:39 2026",
    "unique_id": "a3efde60-8f4b",
    "request": {"method": "GET", "http_version": 1.1, "uri": "/messages?before=1%27+or+1"},
    "response": {"http_code": 403},
    "messages": [
        {
            "message": "not what can be in this input",
            "details": {
                "match": "Matched \"Operator `Rx' with parameter `\\A[0-9]{0,18}\\z' against variable `ARGS:before'"
                " (Value: `1' or 1' )",
                "ruleId": "1243",
                "data": "Matched Data: 1' or 1 found within ARGS:before",
            },
        }
    ],
}


def audit_line(**changes: Any) -> str:
    return json.dumps({"transaction": {**AUDITED, **changes}}, separators=(",", ":"))


def test_a_refusal_names_rule_input_and_bytes() -> None:
    told = refusal.of_audit(audit_line())
    assert (told.id, told.client, told.method, told.path, told.code) == (
        "a3efde60-8f4b",
        "10.0.1.66",
        "GET",
        "/messages",
        403,
    )
    assert (told.rule, told.target, told.matched) == ((1243,), "ARGS:before", "1' or 1")
    assert told.message == "not what can be in this input"


@pytest.mark.parametrize("line", ["", "x", "{}", '{"transaction":{}}', audit_line(messages=[]), audit_line(request=3)])
def test_what_is_no_refusal_is_said(line: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|no line of an audit log"):
        refusal.of_audit(line)


def test_a_value_that_was_cut_in_a_character_is_read() -> None:
    cut = audit_line(unique_id="ä").encode().replace(b"\\u00e4", "ä".encode()[:1])
    assert refusal.of_audit(cut).id == "\N{REPLACEMENT CHARACTER}"


def stored_line(line: str, file: str = refusal.LOG) -> bytes:
    row = json.dumps({"host": "srv1", "service": "web", "file": file, "offset": 0, "line": line}, separators=(",", ":"))
    return row.encode()


def test_refusals_are_stored_in_a_few_fields_and_other_lines_as_they_are() -> None:
    row = json.loads(refusal.as_stored(stored_line(audit_line())))
    assert row["host"] == "srv1"
    assert json.loads(row["line"])["id"] == "a3efde60-8f4b"
    assert json.loads(row["line"])["rule"] == [1243]
    others = [stored_line(audit_line(), "/var/log/nginx/access.log"), stored_line("half a {"), stored_line("{}")]
    for line in others:
        assert refusal.as_stored(line) == line
    told = refusal.as_stored(stored_line(audit_line()))
    assert refusal.as_stored(b"\n".join([*others, stored_line(audit_line())])) == b"\n".join([*others, told])


# --- the command ---------------------------------------------------------------------------------------------------


def test_why_finds_the_refusal_in_the_servers_logs_the_older_ones_too() -> None:
    def unit(*logs: str, **written: str) -> SimpleNamespace:
        texts = {refusal.LOG: written.get("now", ""), f"{refusal.LOG}.1": written.get("before", "")}
        return SimpleNamespace(service=SimpleNamespace(logs=logs), written=lambda log: texts[log].encode())

    older = audit_line(unique_id="older") + "\n" + audit_line(unique_id="old") + "\n"
    units = [unit("/var/log/x"), unit(refusal.LOG), unit(refusal.LOG, before=older, now=audit_line(unique_id="new"))]
    testbed: Any = SimpleNamespace(supervisor=SimpleNamespace(units=units))
    assert [
        (found or {}).get("id") for found in (do_waf._refusal(testbed, number) for number in ("old", "new", "ol"))
    ] == [
        "old",
        "new",
        None,
    ]


def test_what_is_printed() -> None:
    assert do_waf._told({"refused": False}) == "passes: no rule refuses it"
    assert do_waf._told(asdict(refusal.of_audit(audit_line()))).splitlines() == [
        "refused with 403: not what can be in this input (rule 1243)",
        "  request  GET /messages from 10.0.1.66",
        "  input    ARGS:before",
        "  matched  1' or 1",
    ]


def test_try_judges_as_a_browser_would_send_it(judge: Engine) -> None:
    for words, status in (
        (("GET", "/", ""), 0),
        (("GET", "/messages?before=x", ""), 403),
        (("POST", "/messages", "message=hello"), 0),
        (("POST", "/messages", '{"message": "<script>alert(1)</script>"}'), 403),
    ):
        assert judge.status(do_waf.request(*words)) == status, words
