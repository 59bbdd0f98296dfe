"""``tls_exposure``: its judge on real evidence, good, bad and blind; and the parts that make the evidence."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pcaps
import pytest
from pcaps import CLIENT, SERVER
from pymysql._auth import scramble_native_password
from rich.console import Console
from scapy.utils import RawPcapReader

from experiments.engine.verdict import Verdict
from experiments.instruments.search import Hit, Search
from experiments.tls_exposure import canaries, checks, dblogin, decrypt, exposurerows
from experiments.tls_exposure.checks import ExposureReading, grid
from experiments.tls_exposure.decrypt import is_handshake
from experiments.tls_exposure.evidence import ExposureEvidence
from experiments.tls_exposure.experiment import TlsExposure
from experiments.wire.pcap import first_frame, packets, place
from experiments.wire.streams import Text, stream_text
from services.pki import Authority
from topo.errors import MissingError
from topo.plan import SITE

DATA = Path(__file__).parent / "data"
SEED, HARDENED = (json.loads((DATA / f"exposure-{name}.json").read_text()) for name in ("seed", "hardened"))
HOSTS = {"10.0.1.10": "client", "10.0.2.10": "lb", "10.0.3.11": "srv1"}


def judge(evidence: dict[str, Any]) -> Verdict:
    return TlsExposure().judge(ExposureEvidence.parse(evidence))


def reading(evidence: dict[str, Any]) -> ExposureReading:
    return checks.reading(ExposureEvidence.parse(evidence))


def changed(evidence: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> Verdict:
    other = copy.deepcopy(evidence)
    change(other)
    return judge(other)


# --- the judge -----------------------------------------------------------------------------------------------------


def test_in_the_write_ups_design_secrets_are_readable_behind_the_balancer() -> None:
    verdict = judge(SEED)
    assert verdict.holds is False
    assert verdict.because.startswith("log-in password readable on lb-srv1:80, lb-srv2:80 (percent-encoded, lb.pcap#")
    assert "SQL literal readable on lb-srv1:3306" in verdict.because
    assert "client-lb" not in verdict.because
    found = reading(SEED)
    assert {row["link"].partition(":")[0] for row in found.exposures} == {
        "lb-srv1", "lb-srv2", "lb-srv3", "srv1-lb", "srv2-lb", "srv3-lb", "srv2-srv1", "srv3-srv1",
    }  # fmt: skip
    assert {row["link"] for row in found.inside} == {"client-lb:443"}
    assert verdict.numbers["secrets_exposed"] == 7
    assert verdict.numbers["links_blind"] == 0


def test_with_every_remedy_nothing_is_and_every_link_shows_that_it_would_have_been_seen() -> None:
    verdict = judge(HARDENED)
    assert verdict.holds is True
    assert (verdict.numbers["exposures"], verdict.numbers["links_blind"]) == (0, 0)
    assert verdict.numbers["links_encrypted"] == 13
    found = reading(HARDENED)
    assert all(link["control"] for link in found.links.values())
    assert set(found.absent) == {"log line"}, "the failover manager tells the replicas their password, inside TLS"
    assert not found.scrambles


def _drop(evidence: dict[str, Any], value: int | None) -> None:
    evidence["captures"][3]["dropped"] = value


def _forget(evidence: dict[str, Any], what: str, **matching: str) -> None:
    evidence[what] = [row for row in evidence[what] if any(row[name] != value for name, value in matching.items())]


def _link(evidence: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(row for row in evidence["links"] if row["link"] == name)
    return found


def _darken(evidence: dict[str, Any], name: str) -> None:
    """In one capture nothing of a link came to light, and a connection was not opened."""
    row = _link(evidence, name)
    row["dark"] = 1
    _forget(evidence, "inside", link=name, file=row["file"])


BLIND: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("lb.pcap lost 1 packets", lambda e: _drop(e, 1)),
    ("lb.pcap did not see its canary", lambda e: _drop(e, None)),
    ("cannot be looked into: a fragment", lambda e: e["captures"][3]["unread"].update({"a fragment": 1})),
    ("mon's link was not captured", lambda e: e["captures"].pop()),
    ("srv2-lb:3306 has TLS that the key log did not open", lambda e: _darken(e, "srv2-lb:3306")),
    ("mon-srv1:3306 has TLS that the key log did not open", lambda e: _link(e, "mon-srv1:3306").update(dark=1)),
    ("the SQL literal was seen nowhere", lambda e: _forget(e, "inside", secret="SQL literal")),
    ("no log line to look for", lambda e: e["secrets"][-1].update(values=[])),
    ("did not show what was posted", lambda e: e["visits"][0].update(has_message=False)),
    ("did not show what was posted", lambda e: e["visits"].clear()),
]  # fmt: skip


@pytest.mark.parametrize(("said", "change"), BLIND)
def test_what_a_blind_probe_did_not_see_is_unknown(said: str, change: Callable[[dict[str, Any]], Any]) -> None:
    verdict = changed(HARDENED, change)
    assert verdict.holds is None
    assert said in " ".join(reading_after(change))
    assert verdict.because.startswith("nothing was found, but ")


def reading_after(change: Callable[[dict[str, Any]], Any]) -> tuple[str, ...]:
    other = copy.deepcopy(HARDENED)
    change(other)
    return reading(other).doubts


def test_what_was_seen_is_readable_even_where_a_capture_is_blind() -> None:
    assert changed(SEED, lambda e: _drop(e, None)).holds is False


def test_without_its_exposures_the_seeds_evidence_proves_nothing() -> None:
    assert changed(SEED, lambda e: e["exposures"].clear()).holds is None


def test_one_exposure_more_and_the_claim_fails() -> None:
    verdict = changed(HARDENED, lambda e: e["exposures"].append(SEED["exposures"][0]))
    assert verdict.holds is False


def test_a_log_ins_proof_is_no_secret_but_it_is_told() -> None:
    proofs = [row for row in SEED["exposures"] if row["form"] == dblogin.FORM]
    assert {row["link"] for row in proofs} >= {"srv2-lb:3306", "lb-srv1:3306", "srv2-srv1:3306"}
    verdict = changed(HARDENED, lambda e: e["exposures"].extend(proofs))
    assert verdict.holds is True
    assert verdict.numbers["logins_readable"] == len({row["link"] for row in proofs})


def test_a_packet_that_says_a_secret_in_two_forms_is_one() -> None:
    row = {**SEED["exposures"][0], "frames": [7, 8], "packets": 2}
    found = reading({**SEED, "exposures": [row, {**row, "form": "base64", "frames": [8], "packets": 1}]})
    assert grid(found, row["secret"], row["link"]) == 2


# --- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("evidence", "shown"), [(SEED, "plain text"), (HARDENED, "TLS 1.3, opened by the key log")])
def test_the_matrix_fits_a_terminal(evidence: dict[str, Any], shown: str) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(TlsExposure().show(ExposureEvidence.parse(evidence), judge(evidence)))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    lines = told.splitlines()
    assert any(line.startswith("lb-srv1:3306") and line.rstrip().endswith(shown) for line in lines)
    assert "i log line          travels on no link" in lines


def test_the_page_has_every_exposure() -> None:
    page = TlsExposure().page(ExposureEvidence.parse(SEED))
    assert page.count("<tr><td>") == len(SEED["exposures"]) + len(SEED["inside"])
    assert "lb.pcap#" in page


def test_the_plot_has_each_readable_secret_once() -> None:
    (plot,) = TlsExposure().plots(ExposureEvidence.parse(SEED))
    assert [series.label for series in plot.series] == [name for name in reading(SEED).secrets if name not in (
        "database password", "log line",
    )]  # fmt: skip
    assert TlsExposure().plots(ExposureEvidence.parse(HARDENED))[0].series == []


# --- evidence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "dst", "way"),
    [
        ("10.0.1.10:40000", "10.0.2.10:443", ("client-lb:443", "client", "lb")),
        ("10.0.2.10:443", "10.0.1.10:40000", ("client-lb:443", "lb", "client")),
        ("10.0.3.11:40000", "10.0.2.10:3306", ("srv1-lb:3306", "srv1", "lb")),
        ("10.9.9.9:1", "10.0.2.10:2", ("lb-10.9.9.9:1", "10.9.9.9", "lb")),
        ("10.0.1.10", "10.0.2.10", ("other", "client", "lb")),
        ("", "", ("other", "", "")),
    ],
)
def test_a_link_is_named_after_who_asks_and_who_answers(src: str, dst: str, way: tuple[str, str, str]) -> None:
    assert exposurerows.link_direction(HOSTS, src, dst) == way


def test_hits_become_one_row_for_each_way_and_form() -> None:
    there, back = ("10.0.1.10:4000", "10.0.2.10:80"), ("10.0.2.10:80", "10.0.1.10:4000")
    hits = [Hit("it", "raw", *there, (1, 2), 9), Hit("it", "raw", *there, (2,), 9), Hit("it", "raw", *back, (4,), 9)]
    first, second = exposurerows.rows("lb.pcap", HOSTS, hits)
    assert (first["packets"], first["bytes"], first["frames"], first["from"]) == (2, 18, [1, 2], "client")
    assert (second["link"], second["to"], second["frames"]) == ("client-lb:80", "client", [4])


def test_a_run_is_repeated_by_its_seed_and_its_canaries_are_long_enough() -> None:
    one, again = (canaries.typed(random.Random(7), 3) for _ in range(2))
    assert one == again != canaries.typed(random.Random(8), 3)
    Search([("any", value) for value in (one.name, one.password, one.query, one.row, *one.messages)])


def test_the_log_lines_are_the_servers_own() -> None:
    visit = canaries.typed(random.Random(1), 1)
    token = visit.query.split()[-1].rstrip("?")
    lines = {"srv1-nginx.log": ["{}", f"GET /login?name=who+is+{token}%3F", "GET /"]}
    seen = [
        {"file": "srv1-nginx.log", "line": number, "service": "nginx", "data": {"request": line}}
        for number, line in enumerate(lines["srv1-nginx.log"], start=1)
    ]
    assert canaries.log_lines(seen, lines, [visit]) == [lines["srv1-nginx.log"][1]]


# --- log-ins -------------------------------------------------------------------------------------------------------

NONCE = bytes(range(65, 85))
GREETING = b"\x5a\0\0\0\x0a10.11.6-MariaDB\0" + b"\7\0\0\0" + NONCE[:8] + bytes(19) + NONCE[8:] + b"\0native\0"


def login(password: str) -> Text:
    answer = b"\x40\0\0\1app_write\0\x14" + scramble_native_password(password.encode(), NONCE) + b"foobar\0"
    frames = pcaps.stream(GREETING, src=SERVER, dst=CLIENT) + pcaps.stream(answer)
    return stream_text(packets(pcaps.pcap(frames)))


def test_the_proof_of_a_password_is_found() -> None:
    (hit,) = dblogin.scrambles(login("correct horse"), [("it", "correct horse"), ("other", "battery staple")])
    assert (hit.secret, hit.form, hit.src, hit.frames) == ("it", dblogin.FORM, "10.0.1.10:40000", (4,))


def test_another_passwords_proof_is_not() -> None:
    assert dblogin.scrambles(login("correct horse"), [("it", "correct horsf")]) == []
    assert (
        dblogin.scrambles(stream_text(packets(pcaps.pcap(pcaps.stream(b"GET / HTTP/1.1\r\n" * 9)))), [("it", "x")])
        == []
    )


# --- inside TLS ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (b"\x14\0\0\x02ab", True),
        (b"\x04\0\0\x01a\x08\0\0\0", True),
        (b"\x14\0\0\x02abc", False),
        (b"GET / HTTP/1.1", False),
        (b"\0\0\0\x04\0\0\0\0\0", False),
        (b"", False),
    ],
)
def test_handshake_messages_are_told_from_what_was_said(plain: bytes, expected: bool) -> None:
    assert is_handshake(plain) is expected


def test_without_tshark_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingError, match="package: tshark"):
        decrypt.check()


class CapturedConversation:
    """A capture of a TLS conversation, and what tshark makes of it with a key log; it is asked once, for it is slow."""

    def __init__(self, file: Path, keys: Path) -> None:
        self.file, self.keys = file, keys
        self.content = file.read_bytes()
        self.said = stream_text(packets(self.content))

    @cached_property
    def versions(self) -> dict[int, str]:
        return decrypt.versions(self.file)

    @cached_property
    def opened(self) -> Text:
        return decrypt.decrypted(self.file, self.keys, self.said)

    @cached_property
    def dark(self) -> Text:
        """With the keys of another conversation."""
        wrong = self.file.with_suffix(".wrong")
        wrong.write_text("".join(f"{line[:-8]}00000000\n" for line in self.keys.read_text().splitlines()))
        return decrypt.decrypted(self.file, wrong, self.said)

    def link(self, inside: Text, since: float = 0) -> dict[str, Any]:
        """The evidence's row of its only link."""
        first = first_frame(self.content, since)
        (row,) = exposurerows.links(self.file.name, HOSTS, self.said, self.versions, inside, first)
        return row


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> CapturedConversation:
    """A real one."""
    return conversation_on(Wire(), tmp_path_factory.mktemp("tls"))


def conversation_on(wire: Wire, folder: Path) -> CapturedConversation:
    authority = Authority()
    (folder / "server.pem").write_text(authority.issue(SITE).bundle)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    client = ssl.create_default_context(cadata=authority.certificate)
    client.keylog_filename = str(folder / "keys.log")
    asks = client.wrap_bio(*wire.at_client, server_hostname=SITE)
    answers = server.wrap_bio(*wire.at_server, server_side=True)
    for end in (asks, answers, asks, answers):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
        wire.carry()
    asks.write(b"GET /?q=canary+in+the+query HTTP/1.1\r\n\r\n")
    wire.carry()
    answers.write(b"HTTP/1.1 200 OK\r\n\r\ncanary in the answer")
    wire.carry()
    return CapturedConversation(pcaps.written(folder / "some.pcap", wire.frames), folder / "keys.log")


class Wire:
    """Between two ends of a TLS conversation, each with (what comes in, what goes out): carries it over in frames."""

    def __init__(self, port: int = 443) -> None:
        self.at_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.at_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = (SERVER[0], port)
        self.ways = (
            (CLIENT, server, self.at_client[1], self.at_server[0]),
            (server, CLIENT, self.at_server[1], self.at_client[0]),
        )
        self.sent = {CLIENT: 1, server: 1}
        #: is said before TLS begins: in a frame of its own by the server, together with the ClientHello by the client
        self.first: dict[tuple[str, int], bytes] = {}
        # tshark 4.4 takes nothing apart of a connection whose second SYN acknowledges nothing
        opening = (pcaps.SYN, pcaps.SYN | pcaps.ACK)
        self.frames = [
            pcaps.tcp(src, dst, 0, flags=flags) for (src, dst, _, _), flags in zip(self.ways, opening, strict=True)
        ]

    def carry(self) -> None:
        for src, dst, out, into in self.ways:
            if said := out.read():
                into.write(said)
                self.say(src, dst, self.first.pop(src, b"") + said)

    def say(self, src: tuple[str, int], dst: tuple[str, int], said: bytes) -> None:
        self.frames.append(pcaps.tcp(src, dst, self.sent[src], said))
        self.sent[src] += len(said)


#: a database's greeting, which offers TLS, and the client's request for it
OFFER = bytes.fromhex("0a") + b"10.11.6-MariaDB\0" + b"\1\0\0\0" + b"abcdefgh\0" + b"\xfe\xff\x2d\x02\0\xff\xc1\x15"
OFFER += bytes(6) + b"\x1d\0\0\0" + b"abcdefghijkl\0" + b"mysql_native_password\0"
SSL_REQUEST = b"\x20\0\0\x01" + b"\x0d\xae\xff\x1f" + b"\0\0\0\x40" + b"\x2d" + bytes(23)


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("together", [False, True])
def test_tls_that_begins_in_the_frame_that_asks_for_it_is_opened(tmp_path: Path, together: bool) -> None:
    """As a balancer that is late passes it on."""
    wire = Wire(3306)
    (client, server, _, _), _ = wire.ways
    wire.say(server, client, len(OFFER).to_bytes(3, "little") + b"\0" + OFFER)
    if together:
        wire.first[client] = SSL_REQUEST
    else:
        wire.say(client, server, SSL_REQUEST)
    conversation = conversation_on(wire, tmp_path)
    assert b"canary in the answer" in conversation.opened.data
    assert set(conversation.versions) <= {frame for run in conversation.said.runs for *_, frame in run.parts}
    row = conversation.link(conversation.opened)
    assert (row["link"], row["tls"], row["dark"]) == ("client-lb:3306", {"TLS 1.3": 1}, 0)
    (hit,) = Search([("question", "canary+in+the+query")]).said(conversation.opened, Counter())
    assert conversation.said.data.count(SSL_REQUEST) == 1
    assert hit.frames == (len(wire.frames) - 1,), "the numbers are those of the capture itself"


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_the_key_log_brings_to_light_what_no_search_finds(conversation: CapturedConversation) -> None:
    search = Search([("question", "canary in the query"), ("answer", "canary in the answer")])
    seen = search.capture(conversation.content)
    assert seen.hits == []
    inside = search.said(conversation.opened, seen.unread)
    assert [(hit.secret, hit.form, hit.dst) for hit in inside] == [
        ("question", "form-encoded", "10.0.2.10:443"),
        ("answer", "raw", "10.0.1.10:40000"),
    ]
    assert all(len(hit.frames) == 1 for hit in inside)
    assert set(conversation.versions.values()) == {"TLS 1.3"}


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_with_another_key_log_nothing_comes_to_light(conversation: CapturedConversation) -> None:
    assert conversation.dark.data == b""


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_a_link_says_what_stayed_dark(conversation: CapturedConversation) -> None:
    link = conversation.link(conversation.opened)
    assert (link["link"], link["connections"], link["tls"], link["dark"]) == ("client-lb:443", 1, {"TLS 1.3": 1}, 0)
    link = conversation.link(conversation.dark)
    assert (link["tls"], link["dark"]) == ({"TLS 1.3": 1}, 1)
    link = conversation.link(conversation.dark, since=2.0)
    assert (link["tls"], link["dark"]) == ({}, 0), "it ended before keys were logged"


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tls_that_began_before_the_capture_is_dark_not_plain(conversation: CapturedConversation) -> None:
    with RawPcapReader(str(conversation.file)) as captured:
        frames = [bytes(data) for data, _ in captured]
    late = CapturedConversation(pcaps.written(conversation.file.with_name("late.pcap"), frames[-2:]), conversation.keys)
    link = late.link(late.opened)
    assert (link["tls"], link["dark"]) == ({exposurerows.BEGUN_BEFORE: 1}, 1)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"\x17\x03\x03\0\x05hello", True),
        (b"half of one\x17\x03\x03\0\x05hello\x17\x03\x03\0\x09hel", True),
        (b"\x17\x03\x03\0\x05hell", False),
        (b"\x17\x03\x03\0\x05hello GET", False),
        (b"GET / HTTP/1.1\r\n\r\n", False),
    ],
)
def test_records_of_tls_are_recognised_by_what_follows_them(said: bytes, expected: bool) -> None:
    seen = stream_text(packets(pcaps.pcap(pcaps.stream(said))))
    assert exposurerows.holds_tls_records(seen.data, seen.runs[0]) is expected


def test_the_first_frame_at_a_moment() -> None:
    data = pcaps.pcap([pcaps.tcp(CLIENT, SERVER, 1, b"x")] * 3)
    assert [first_frame(data, moment) for moment in (0, 1.0, 1.0005, 1.001, 1.002, 1.0021)] == [1, 1, 2, 2, 3, 4]


def test_a_captures_beginning_is_a_capture() -> None:
    frames = [pcaps.tcp(CLIENT, SERVER, 1, b"x" * size) for size in (1, 500, 9)]
    data = pcaps.pcap(frames)
    assert [data[: place(data, frame)] for frame in (1, 3, 9)] == [pcaps.pcap(frames[:n]) for n in (0, 2, 3)]
