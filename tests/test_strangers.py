"""Parsers of what strangers send (packets, streams, logs) are total: anything at all is read, counted or skipped."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pcaps
import pytest
from damage import damaged
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from pcaps import CLIENT, SERVER

from controllers import denied
from experiments.firewall_matrix import tries
from experiments.firewall_mutants import probes
from experiments.instruments import generator, keylog, visit
from experiments.instruments.search import Search
from experiments.tls_exposure import dblogin, decrypt
from experiments.tls_tampering import measure as tampering
from experiments.web_failover import balancer
from experiments.wire import http2, payloads, pcap
from experiments.wire.streams import stream_text
from topo import eventlog, jsonlines
from topo.errors import UsageError

SECRET = "a secret that is long enough"
QUESTION = bytes.fromhex("1234010000010000000000000377777706666f6f62617203636f6d0000010001")
RECORD = bytes.fromhex("c00c000100010000003c00040a00020a")
ANSWER = bytes.fromhex("12348180000100010000000003777777") + QUESTION[16:] + RECORD
HELLO = bytes.fromhex("160301002c0100002803030000")
GREETING = b"\x50\0\0\0\x0a10.11\0\x01\0\0\0abcdefgh\0" + b"\xff" * 19 + b"ijklmnopqrst\0mysql_native_password\0"
PAYLOADS = (
    QUESTION,
    ANSWER,
    HELLO,
    GREETING,
    b"\x09\0\0\0\x03SELECT 1",
    payloads.PROXY_V2 + b"\x21\x11\0\x0c" + b"\x0a" * 12 + HELLO,
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
)
PORTS = ({53, 40000}, {443, 40000}, {3306, 40000}, {80, 40000})


def http_1() -> bytes:
    body = gzip.compress(f"<p>{SECRET} &#x41; %41 \\u0041</p>".encode())
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body), body,
    )  # fmt: skip


def http_2() -> bytes:
    block = Encoder().encode([(":method", "POST"), ("x", SECRET)])
    frames = [(4, 0, 0, b""), (1, 0x2C, 1, b"\x01" + bytes(5) + block + b"\0"), (0, 9, 1, b"\x02" + SECRET.encode())]
    return http2.PREFACE + b"".join(
        len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content
        for kind, flags, stream, content in frames
    )


FRAMES = (
    pcaps.tcp(CLIENT, SERVER, 7, http_1(), options=b"\x01" * 8),
    pcaps.udp(CLIENT, ("10.0.1.2", 53), QUESTION),
    pcaps.ethernet(pcaps.ip("10.0.1.10", "10.0.2.10", 1, b"\x08\0\0\0")),
    pcaps.ethernet(pcaps.ip("10.0.1.10", "10.0.2.10", 6, b"x" * 24, fragment=0x2001)),
    pcaps.ethernet(
        bytes.fromhex("0001080006040001020000000142 0a000142000000000000 0a00030b".replace(" ", "")), 0x0806
    ),
)
CAPTURES = tuple(
    pcaps.pcap(
        [*FRAMES, *pcaps.stream(http_1(), [9, 50]), *pcaps.stream(http_2(), [30], src=SERVER, dst=CLIENT)], order
    )
    for order in ("<", ">")
)
LOG = (
    json.dumps({"status": 503, "ending": "SC", "backend": "web", "request_id": "1"}).encode()
    + b'\nplain words\n{"status": "-"}\n[1]\n{}\n'
)
EVENTS = b'{"time": 1.5, "event": "promoted", "what": "changed", "why": null, "switch": "fw1"}\n' * 2
KEYS = b"CLIENT_RANDOM 00 11\n"
DUMPED = (
    b"1 \xe2\x86\x92\n12\nFrame (60 bytes):\n0000  41 42 43   ABC\nDecrypted TLS (3 bytes):\n0000  41 42 43   ABC\n"
)


def of_file(parser: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A parser of files as one of bytes."""

    def parsed(content: bytes) -> Any:
        with tempfile.NamedTemporaryFile(suffix=".log") as file:
            file.write(content)
            file.flush()
            return parser(Path(file.name))

    return parsed


def capture_searched(content: bytes) -> None:
    found = Search([("it", SECRET)]).capture(content)
    dblogin.scrambles(found.text, [("it", "password")])


def frames_read(content: bytes) -> None:
    for frame in of_file(pcap.frames)(content):
        for ports in PORTS:
            payloads.describe(frame.payload, ports)
    pcap.first_frame(content, 1.0)
    pcap.place(content, 2)


def greeted(content: bytes) -> None:
    run = pcap.packets(pcaps.pcap([pcaps.tcp(SERVER, CLIENT, 1, content), pcaps.tcp(CLIENT, SERVER, 1, b"x" * 40)]))
    dblogin.scrambles(stream_text(run), [("it", "password")])


def sightings(content: bytes) -> None:
    tries.Sightings(content, "02:00:00:00:01:42").arrived(b"x" * 20, b"\x08\x00")


def text_of(parser: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda content: parser(content.decode(errors="replace"))


#: each parser of strangers' bytes, with samples of what it is meant for
PARSERS: dict[str, tuple[Callable[[bytes], Any], tuple[bytes, ...]]] = {
    "payloads": (lambda content: [payloads.describe(content, ports) for ports in PORTS], PAYLOADS),
    "a capture's frames": (frames_read, CAPTURES),
    "a capture searched": (capture_searched, CAPTURES),
    "a capture's sightings": (sightings, CAPTURES),
    "a SYN+ACK": (lambda content: tries.tcp_numbers(content, 80, 40000), FRAMES),
    "a probe's sign": (lambda content: probes._sign_of({}, content), FRAMES),
    "a sample of a denied packet": (denied.parse, FRAMES),
    "a database's greeting": (greeted, (GREETING,)),
    "a decrypted record": (decrypt.is_handshake, (b"\x14\0\0\x04abcd", b"GET / HTTP/1.1")),
    "tshark's dump": (text_of(lambda said: list(decrypt._plain(said))), (DUMPED,)),
    "tshark's versions": (text_of(decrypt.versions_in), (b"7\t0x0303\t0x0304\n8\t0x0303\t\n",)),
    "a web page": (
        text_of(visit.Page),
        (b"<form action=/x><input name=a value=1></form><![CDATA[", b"<!x <?y &#x;"),
    ),
    "lines of JSON": (lambda content: list(jsonlines.rows(content)), (LOG, b'{"a":' * 9000)),
    "the balancer's bad endings": (lambda content: [*map(balancer.ended_badly, content.splitlines())], (LOG,)),
    "the impostor's events": (of_file(tampering._events), (EVENTS,)),
    "events of denied packets": (of_file(lambda file: list(denied.read(file))), (EVENTS,)),
    "the failover manager's events": (lambda content: list(eventlog.events_in(content)), (EVENTS,)),
    "key logs": (lambda content: keylog.merged([content]), (KEYS,)),
}


def test_the_samples_are_read_as_what_they_are() -> None:
    """Else the damaged ones would test nothing but the refusal."""
    assert payloads.describe(ANSWER, PORTS[0])["answer"] == ["10.0.2.10"]
    forms = {hit.form for hit in Search([("it", SECRET)]).capture(CAPTURES[0]).hits}
    assert forms == {"HPACK-Huffman", "compressed", "raw"}
    assert [row["status"] for _, row in jsonlines.rows(LOG) if row] == [503, "-"]
    assert decrypt.versions_in("7\t0x0303\t0x0304\n8\t0x0303\t\n9\t0x0303,0x0303\n") == {
        7: "TLS 1.3", 8: "TLS 1.2", 9: "TLS 1.2",
    }  # fmt: skip


def test_twelve_zero_bytes_to_the_resolver_are_no_question() -> None:
    assert payloads.describe(bytes(12), PORTS[0]) == {}


@pytest.mark.parametrize("answer", [b"", b"\xff", b"[]", b"{}", b'{"id": null}', b"[" * 100_000])
def test_an_answer_that_names_no_message_is_a_failed_request(answer: bytes) -> None:
    with pytest.raises(generator.Broken):
        generator._number_of(answer)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=25, deadline=2000)
@given(data=st.data())
def test_a_parser_of_strangers_bytes_is_total(name: str, data: st.DataObject) -> None:
    """Whatever it is given it returns; a file that is no capture at all is refused with the one error for that."""
    parse, samples = PARSERS[name]
    try:
        parse(data.draw(damaged(samples)))
    except UsageError:
        assert "capture" in name
