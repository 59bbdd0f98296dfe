"""Lines of logs become contacts of the host that did it; a header, a false address or another name blame nobody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.compile import BIND, cookie_name
from controllers.flow import Flow
from services.detection.detection import Contact, Detection
from services.detection.detectors import Detectors
from services.detection.readers import UNBOUND, KnownHosts, Readers
from services.waf.refusal import SCANNERS
from topo.plan import plan as plan_of
from topo.profile import Profile

PLAN = plan_of(Profile())
KNOWN = KnownHosts.of(PLAN)
PORT = {host: port for (switch, port), host in KNOWN.ports.items() if switch == "core"}
ADDRESS = {host: address for address, host in KNOWN.addresses.items()}


def denied(src: str = "attacker", **changed: Any) -> bytes:
    row = {"time": 1.5, "switch": "core", "rule": "deny-rest", "src": src, "dst": "lb", "proto": "tcp", "port": 22}
    return json.dumps({**row, "in_port": PORT["attacker"], **changed}).encode()


def stored(service: str, row: object, host: str = "lb") -> bytes:
    line = row if isinstance(row, str) else json.dumps(row)
    return json.dumps({"host": host, "service": service, "file": "f", "offset": 1, "read": "", "line": line}).encode()


def balancer(path: str = "/", status: int = 200, *, number: int = 1, method: str = "GET", **changed: Any) -> bytes:
    row = {"time": 1500, "request_id": f"id-{number}", "client": f"{ADDRESS['attacker']}:4{number:04}"}
    row |= {"frontend": "site-https", "status": status, "ending": "----"}
    return stored("balancer", {**row, "request": f"{method} https://www.foobar.com{path} HTTP/2.0", **changed})


def login(status: int, account: str = "a1", number: int = 1, came_from: str = "") -> bytes:
    row = {"time": 1.5, "request_id": f"id-{number}", "from": came_from or f"{ADDRESS['attacker']}, {ADDRESS['lb']}"}
    return stored("app", {**row, "request": "POST /login HTTP/1.1", "status": status, "account": account}, "srv1")


def refusal(number: int = 1, client: str = "", target: str = "ARGS:before", **changed: Any) -> bytes:
    row = {"time": 1.5, "id": f"id-{number}", "client": client or ADDRESS["attacker"], "rule": [942100]}
    more = {"path": "/messages", "message": "SQL injection", "target": target, "matched": f"' or {number}=1"}
    return stored("web", {**row, **more, "event": "refused", **changed}, "srv1")


def contacts(line: bytes) -> list[tuple[str, Contact]]:
    readers = Readers(Detectors(), KNOWN)
    return [
        (detector.kind, contact)
        for told in (readers.of_sample(line), readers.of_stored(line))
        for detector, contact in told
    ]


def detections(lines: list[bytes]) -> list[Detection]:
    readers, found = Readers(Detectors(), KNOWN), []
    for line in lines:
        for detector, contact in (*readers.of_sample(line), *readers.of_stored(line)):
            found += detector.take(contact)
    return found


def kinds(lines: list[bytes]) -> set[tuple[str, str]]:
    return {(detection.kind, detection.source) for detection in detections(lines)}


def test_each_attack_is_found_in_the_lines_that_it_leaves() -> None:
    assert kinds([denied(port=port) for port in range(4)]) == {("scan", "attacker")}
    assert kinds([denied("client", rule="spoofed", time=at) for at in range(4)]) == {("spoofing", "attacker")}
    assert kinds([login(401, number=at) for at in range(4)]) == {("brute-force", "attacker")}
    assert kinds([login(401, f"a{at}", at) for at in range(5)]) == {("spraying", "attacker")}
    assert kinds([balancer(f"/{at}.php", 404, number=at) for at in range(8)]) == {("probing", "attacker")}
    assert kinds([refusal(at) for at in range(4)]) == {("probing", "attacker")}
    slow = [balancer("", 408, number=at, ending="cR--", request="<BADREQ>", request_id="-") for at in range(4)]
    assert kinds(slow) == {("slow-client", "attacker")}


def test_the_same_again_is_no_more_evidence() -> None:
    """A line that comes twice, a page that is missing again and again, one target that is tried for ever."""
    assert kinds([denied() for _ in range(50)]) == set()
    assert kinds([login(401) for _ in range(50)]) == set()
    assert kinds([balancer("/favicon.ico", 404, number=at) for at in range(50)]) == set()
    assert kinds([refusal() for _ in range(50)]) == set()
    assert kinds([refusal(at, target="ARGS:message") for at in range(50)]) == set(), "somebody rewrites a text"


def test_who_is_too_many_or_meets_a_dead_server_is_not_to_blame() -> None:
    assert kinds([login(429, number=at) for at in range(50)]) == set()
    assert kinds([balancer(f"/{at}", status, number=at) for at in range(50) for status in (429, 500, 503)]) == set()
    for rule in (None, "block"):
        assert kinds([denied(rule=rule, port=port) for port in range(50)]) == set()
    assert kinds([denied(rule="invalid", port=33000 + port) for port in range(50)]) == set()
    assert kinds([denied(rule="invalid", port=port) for port in range(50)]) == {("scan", "attacker")}


def test_a_search_engine_that_finds_pages_and_old_links_is_no_prober() -> None:
    lines = [balancer(f"/page/{at}", 404 if at % 5 == 0 else 200, number=at) for at in range(400)]
    assert kinds(lines) == set()


def test_each_request_of_a_scanner_that_says_so_is_evidence_and_of_an_odd_program_one() -> None:
    """The name is judged first, so that no line says that each of them asked for something else."""
    name: dict[str, Any] = {"target": "REQUEST_HEADERS:user-agent", "matched": "sqlmap/1.7.2#stable"}
    for rule in SCANNERS:
        assert kinds([refusal(at, rule=[rule], **name) for at in range(4)]) == {("probing", "attacker")}
    assert kinds([refusal(at, rule=[1114], **name) for at in range(50)]) == set()


def test_texts_of_which_the_firewall_refuses_some_are_no_probing() -> None:
    accepted = [balancer("/messages", 303, number=at, method="POST") for at in range(2000)]
    assert kinds([refusal(at) if at % 20 == 0 else line for at, line in enumerate(accepted)]) == set()
    assert kinds([refusal(at) if at % 2 == 0 else line for at, line in enumerate(accepted)]) == {
        ("probing", "attacker")
    }


@given(st.sampled_from(["client", "lb", "203.0.113.9"]), st.integers(0, 65535), st.sampled_from(["tcp", "arp", "47"]))
def test_a_false_address_blames_the_port_it_came_by_and_no_other(claimed: str, port: int, proto: str) -> None:
    line = denied(claimed, rule="spoofed", port=port, proto=proto)
    assert [(kind, contact.source) for kind, contact in contacts(line)] == [("spoofing", "attacker")]


def test_every_sample_of_a_packet_before_its_source_is_known_blames_the_port(flows: tuple[Flow, ...]) -> None:
    """A forged fragment was blamed on the host whose address it had: the first table refuses it before it is bound."""
    early = {cookie_name(flow.cookie, ()) for flow in flows if flow.table == BIND and flow.drops}
    assert early == UNBOUND
    for rule in UNBOUND:
        lines = [denied("client", rule=rule, port=port, time=port) for port in range(9)]
        assert kinds(lines) == {("spoofing", "attacker")}


def test_what_is_no_false_address_is_no_spoofing() -> None:
    assert contacts(denied("attacker", rule="block", port=443)) == []  # what is allowed too
    assert contacts(denied("attacker", rule="spoofed")) == []  # a tag, or another MAC address
    assert contacts(denied("02:00:00:00:01:42", rule="spoofed", proto="0x86dd", port=None)) == []
    assert contacts(denied("client", rule="spoofed", switch="fw1", in_port=1)) == []  # nobody's port alone


@pytest.mark.parametrize(
    "line",
    [
        denied("203.0.113.9"),
        login(401, came_from="203.0.113.9"),
        login(401, came_from="unknown"),
        login(401, came_from=f"{ADDRESS['client']}, 203.0.113.9, {ADDRESS['lb']}"),
        refusal(client="203.0.113.9"),
        balancer(client="203.0.113.9:1"),
        balancer(client="-"),
        stored("balancer", "not JSON"),
        stored("balancer", {"client": "10.0.1.66:1", "sni": "www.foobar.com", "ending": "cD"}),
        stored("app", "[]", "srv1"),
        b"",
        b"{}",
        b"[1]",
        b'{"service": "balancer", "line": {}}',
        b"\xff" * 9,
    ],
)
def test_what_names_no_host_or_is_no_evidence_blames_nobody(line: bytes) -> None:
    assert contacts(line) == []


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_survived(line: bytes) -> None:
    for service in ("balancer", "app", "web"):
        contacts(stored(service, line.decode(errors="replace")))
    assert contacts(line) == []


VALUES = st.none() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(st.sampled_from(["client", "status", "time", "request", "rule", "from", "src", "proto"]), VALUES)
)
def test_any_values_are_survived(changed: dict[str, Any]) -> None:
    contacts(balancer(**changed))
    contacts(denied(**changed))
    contacts(stored("app", changed))
    contacts(stored("web", changed))
