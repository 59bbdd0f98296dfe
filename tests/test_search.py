"""The search for secrets in captures: whatever the form and however it was cut, it is found, with the right frames."""

from __future__ import annotations

import base64
import gzip
import html
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import cramjam
import pcaps
import pytest
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, SettingsFrame
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pcaps import CLIENT, SERVER
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from experiments.instruments import search
from experiments.instruments.search import Found, Search, SearchPatterns, patterns
from experiments.wire import http2, layers
from experiments.wire.pcap import packets
from experiments.wire.streams import stream_text
from topo.errors import UsageError

SECRET = 'p&q <"näive"> it\'s 100% + canary-7f3a9c'
Coded = tuple[bytes, bytes, bytes]

secrets = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=12, max_size=40)
printable = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=12, max_size=40)
seeds = st.integers(0, 2**32).map(random.Random)


def found(data: bytes, secret: str = SECRET) -> Found:
    return Search([("it", secret)]).capture(data)


def test_what_is_made_of_few_bytes_has_a_limit_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_MADE", 4 << 20)
    bomb = gzip.compress(bytes(1 << 20)) * 9
    searched = found(pcaps.pcap(pcaps.stream(SECRET.encode() + bomb)))
    assert [hit.form for hit in searched.hits] == ["raw"]
    assert any("compressed: more than" in what for what in searched.unread)


# --- every form: (what stands before, the bytes that say the secret, what stands after) -----------------------------


def percent(secret: str, chance: random.Random) -> Coded:
    """Each byte escaped or not, as the writer likes; a space as + or %20; what must be escaped, is."""

    def one(byte: int) -> str:
        if byte == 32 and chance.random() < 0.5:
            return "+"
        if chr(byte) in "%+ " or byte > 126 or chance.random() < 0.3:
            return chance.choice((f"%{byte:02x}", f"%{byte:02X}"))
        return chr(byte)

    return b"GET /messages?q=", "".join(map(one, secret.encode())).encode(), b" HTTP/1.1\r\n\r\n"


def raw(secret: str, chance: random.Random) -> Coded:
    return chance.randbytes(chance.randrange(40)), secret.encode(), chance.randbytes(chance.randrange(40))


def base64_inside(secret: str, chance: random.Random) -> Coded:
    """In the middle of something longer, in either alphabet."""
    before, after = chance.randbytes(chance.randrange(20)), chance.randbytes(chance.randrange(20))
    coded = chance.choice((base64.b64encode, base64.urlsafe_b64encode))(before + secret.encode() + after)
    return b"Cookie: session=", coded, b"\r\n\r\n"


def hexadecimal(secret: str, chance: random.Random) -> Coded:
    digits = secret.encode().hex()
    return b"0x", chance.choice((digits, digits.upper())).encode(), b"\n"


def utf_16(secret: str, chance: random.Random) -> Coded:
    return b"\xff\xfe", secret.encode(chance.choice(("utf-16-le", "utf-16-be"))), b"\0\0"


def as_json(secret: str, chance: random.Random) -> Coded:
    return b'{"text":"', json.dumps(secret, ensure_ascii=chance.random() < 0.8)[1:-1].encode(), b'"}'


def as_html(secret: str, chance: random.Random) -> Coded:
    numbered = "".join(chance.choice((f"&#{ord(c)};", f"&#x{ord(c):X};", html.escape(c))) for c in secret)
    return b"<p>", chance.choice((html.escape(secret), numbered)).encode(), b"</p>"


def sql(secret: str, chance: random.Random) -> Coded:
    from pymysql.converters import escape_string

    return b"INSERT INTO messages (body) VALUES ('", escape_string(secret).encode(), b"')"


def chunked(secret: str, chance: random.Random) -> Coded:
    return http1(secret.encode(), chance, "chunked")


def compressed(secret: str, chance: random.Random) -> Coded:
    how = chance.choice((gzip.compress, zlib.compress, raw_deflate))
    page = b"<html>" + chance.randbytes(chance.randrange(600)) + secret.encode() + b"</html>"
    return http1(how(page), chance, chance.choice(("", "chunked")), "deflate" if how is raw_deflate else "gzip")


def http1(body: bytes, chance: random.Random, transfer: str, content: str = "") -> Coded:
    head = b"HTTP/1.1 200 OK\r\n"
    if content:
        head += b"content-encoding: " + content.encode() + b"\r\n"
    if not transfer:
        return head + b"\r\n", body, b""
    pieces = []
    while body:
        size = chance.randrange(1, 30)
        pieces.append(b"%x\r\n" % len(body[:size]) + body[:size] + b"\r\n")
        body = body[size:]
    return head + b"Transfer-Encoding: chunked\r\n\r\n", b"".join(pieces), b"0\r\n\r\n"


def snappy(secret: str, chance: random.Random) -> Coded:
    """As metrics are pushed: a request whose length stands in its head."""
    page = chance.randbytes(chance.randrange(600)) + secret.encode() + chance.randbytes(20)
    body = bytes(cramjam.snappy.compress_raw(page))
    head = b"POST /api/v1/write HTTP/1.1\r\nContent-Encoding: snappy\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head, body, b""


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def h2_header(secret: str, chance: random.Random) -> Coded:
    value = secret.encode()
    block = Encoder().encode([(":path", "/"), (b"x-secret", value)], huffman=chance.random() < 0.7)
    cut = chance.randrange(len(block))
    frames = frame(1, 0, 1, block[:cut]) + frame(9, 4, 1, block[cut:])
    return http2.PREFACE + frame(4, 0, 0, b""), frames, frame(0, 1, 1, b"")


def h2_body(secret: str, chance: random.Random) -> Coded:
    """DATA frames with another stream's in between, some padded."""
    said, frames = secret.encode(), b""
    if chance.random() < 0.5:
        said = gzip.compress(said)
    while said:
        size, padding = chance.randrange(1, 12), chance.randrange(5)
        piece = bytes([padding]) + said[:size] + bytes(padding) if padding else said[:size]
        frames += frame(0, 8 if padding else 0, 1, piece) + frame(0, 0, 3, b"other")
        said = said[size:]
    return http2.PREFACE + frame(4, 0, 0, b""), frames, b""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SNAPPY = b"POST / HTTP/1.1\r\nContent-Encoding: snappy\r\n"
EXACT: tuple[Callable[[str, random.Random], Coded], ...] = (raw, percent, hexadecimal, utf_16, as_json, as_html, sql)
WITHIN: tuple[Callable[[str, random.Random], Coded], ...] = (
    base64_inside,
    chunked,
    compressed,
    snappy,
    h2_header,
    h2_body,
)


def sent(data: bytes, chance: random.Random) -> tuple[list[bytes], list[tuple[int, int, int]]]:
    """Frames that carry the data in a bad network's order, and (begin, end, frame number) of each data segment."""
    first = chance.choice((0, 7, 2**32 - len(data) // 2, chance.randrange(2**32)))
    spans, place = [], 0
    while place < len(data):
        length = chance.choice((1, chance.randrange(1, 40), chance.randrange(1, 1500)))
        spans.append((max(0, place - chance.choice((0, 0, 3))), min(len(data), place + length)))
        place += length
    spans += chance.sample(spans, min(len(spans), 2))
    if chance.random() < 0.5:
        chance.shuffle(spans)
    frames = [pcaps.tcp(CLIENT, SERVER, first - 1, flags=pcaps.SYN)]
    placed = []
    for begin, end in spans:
        if chance.random() < 0.3:
            frames.append(pcaps.tcp(SERVER, CLIENT, chance.randrange(2**32), chance.randbytes(20)))
        options = bytes(chance.choice((0, 12)))
        frames.append(pcaps.tcp(CLIENT, SERVER, first + begin, data[begin:end], options=options))
        placed.append((begin, end, len(frames)))
    return frames, placed


@given(secrets, st.sampled_from(EXACT + WITHIN), seeds)
def test_a_secret_is_found_whatever_its_form_and_however_it_was_cut(
    secret: str, form: Callable[[str, random.Random], Coded], chance: random.Random
) -> None:
    assume(form is not raw or secret.isprintable())
    before, said, after = form(secret, chance)
    frames, placed = sent(before + said + after, chance)
    begin, end = len(before), len(before + said)
    carriers = {number for first, last, number in placed if first < end and begin < last}
    hits = found(pcaps.pcap(frames), secret).hits
    assert hits, f"{form.__name__}: {before + said + after!r}"
    assert {(hit.src, hit.dst) for hit in hits} == {("10.0.1.10:40000", "10.0.2.10:80")}
    told = {number for hit in hits for number in hit.frames}
    if form in EXACT:
        assert told == carriers
    else:
        assert told
        assert told <= carriers


@given(printable, st.sampled_from(EXACT + WITHIN), seeds)
def test_a_secret_that_is_not_there_is_never_found(
    secret: str, form: Callable[[str, random.Random], Coded], chance: random.Random
) -> None:
    """Nor one whose beginning or end alone is there."""
    near = secret[:-1] + chr(ord(secret[-1]) ^ 1)
    assume(near.isprintable() and not near.endswith(" "))
    frames, _ = sent(b"".join(form(secret, chance)), chance)
    assert found(pcaps.pcap(frames), near + "absent").hits == []
    assert found(pcaps.pcap(frames), "absent" + secret).hits == []


@given(st.binary(max_size=3000), seeds)
def test_noise_neither_breaks_the_search_nor_holds_a_secret(noise: bytes, chance: random.Random) -> None:
    frames, _ = sent(noise or b"x", chance)
    assert found(pcaps.pcap(frames)).hits == []
    assert found(pcaps.pcap([*frames, noise])).hits == []


@given(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=8), seeds)
def test_scapy_reads_the_same_bytes(payloads: list[bytes], chance: random.Random) -> None:
    """The oracle: what each TCP frame carries, by its own dissection."""
    frames = [pcaps.tcp(CLIENT, SERVER, 1000, data, options=bytes(chance.choice((0, 12)))) for data in payloads]
    frames.append(pcaps.ethernet(pcaps.ip("10.0.0.1", "10.0.0.2", 6, frames[0][34:], options=bytes(8))))
    data = pcaps.pcap(frames)
    ours = {frame: data[begin:end] for _, _, segments in packets(data).connections for _, frame, begin, end in segments}
    theirs = {number: bytes(Ether(each)[TCP].payload) for number, each in enumerate(frames, start=1)}
    assert ours == theirs


# --- one by one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "form"),
    [
        (SECRET.encode(), "raw"),
        (quote_plus(SECRET).encode(), "percent-encoded"),
        (base64.b64encode(b"." + SECRET.encode()), "base64"),
        (SECRET.encode().hex().encode(), "hex"),
        (SECRET.encode("utf-16"), "UTF-16"),
        (json.dumps(SECRET).encode(), "backslash-escaped"),
        (html.escape(SECRET).encode(), "HTML-escaped"),
        (zlib.compress(b"before" + SECRET.encode()), "compressed"),
        (b"".join(http1(gzip.compress(SECRET.encode(), mtime=0), random.Random(1), "chunked")), "chunked, compressed"),
        (gzip.compress(html.escape(SECRET).encode(), mtime=0), "compressed, HTML-escaped"),
        (b"".join(h2_body(SECRET, random.Random(0))), "HTTP/2 body"),
    ],
)
def test_a_form_is_named_from_the_outside_in(said: bytes, form: str) -> None:
    assert {hit.form for hit in found(pcaps.pcap(pcaps.stream(said))).hits} == {form}


def test_huffman_is_found_without_the_connections_beginning() -> None:
    block = Encoder().encode([(b"cookie", b"a=1; session=" + SECRET.encode())], huffman=True)
    (hit,) = found(pcaps.pcap([pcaps.tcp(CLIENT, SERVER, 99, frame(1, 4, 5, block))])).hits
    assert hit.form == "HPACK-Huffman"


def test_a_header_that_http2_only_refers_to_is_found_each_time() -> None:
    encoder = Encoder()
    blocks = [encoder.encode([(b"x-secret", SECRET.encode())], huffman=False) for _ in range(2)]
    frames = [frame(4, 0, 0, b""), *(frame(1, 5, 2 * n + 1, block) for n, block in enumerate(blocks))]
    data = http2.PREFACE + b"".join(frames)
    hits = found(pcaps.pcap(pcaps.stream(data, [len(data) - len(frames[-1])]))).hits
    assert [(hit.form, hit.frames) for hit in hits] == [("raw", (2,)), ("HTTP/2 header", (3,))]


def test_padded_and_prioritised_frames_are_read_as_hyperframe_makes_them() -> None:
    block = Encoder().encode([(b"x-secret", SECRET.encode())], huffman=False)
    made: list[Any] = [
        SettingsFrame(0),
        HeadersFrame(1, block, pad_length=9, exclusive=True, stream_weight=7, flags=["PADDED", "PRIORITY"]),
        ContinuationFrame(1, b"", flags=["END_HEADERS"]),
        DataFrame(1, b"." + SECRET.encode()[:9], pad_length=200, flags=["PADDED"]),
        DataFrame(1, SECRET.encode()[9:], flags=["END_STREAM"]),
    ]
    data = http2.PREFACE + b"".join(frame.serialize() for frame in made)
    assert {hit.form for hit in found(pcaps.pcap(pcaps.stream(data))).hits} == {"raw", "HTTP/2 body"}


def test_each_place_counts_once_and_each_direction_for_itself() -> None:
    there = pcaps.stream(b"GET /" + SECRET.encode() + b" twice " + SECRET.encode())
    back = pcaps.stream(SECRET.encode(), src=SERVER, dst=CLIENT)
    hits = found(pcaps.pcap(there + back)).hits
    assert [(hit.src, hit.frames, hit.length) for hit in hits] == [
        ("10.0.1.10:40000", (2,), len(SECRET.encode())),
        ("10.0.1.10:40000", (2,), len(SECRET.encode())),
        ("10.0.2.10:80", (4,), len(SECRET.encode())),
    ]


def test_half_in_one_connection_and_half_in_the_next_is_nothing() -> None:
    half = len(SECRET.encode()) // 2
    said = SECRET.encode()
    other = pcaps.stream(said[half:], src=("10.0.1.10", 40001))
    assert found(pcaps.pcap(pcaps.stream(said[:half]) + other)).hits == []
    again = pcaps.stream(said[half:], first=900000)
    assert found(pcaps.pcap(pcaps.stream(said[:half]) + again)).hits == [], "the same ports, used again"


def test_a_hole_in_a_stream_is_not_closed() -> None:
    said = SECRET.encode()
    frames = pcaps.stream(said[:10] + b"?" + said[10:], [10, 11])
    del frames[2]
    assert found(pcaps.pcap(frames)).hits == []


def test_a_segment_sent_again_with_other_words_is_read_too() -> None:
    said = SECRET.encode()
    frames = [*pcaps.stream(b"." * len(said)), pcaps.tcp(CLIENT, SERVER, 8, said)]
    (hit,) = found(pcaps.pcap(frames)).hits
    assert hit.frames == (3,)


def test_what_is_not_tcp_is_searched_frame_by_frame() -> None:
    said = SECRET.encode()
    frames = [pcaps.udp(CLIENT, ("10.0.1.53", 53), said), pcaps.ethernet(said, kind=0x88B5)]
    hits = found(pcaps.pcap(frames)).hits
    assert [(hit.src, hit.dst, hit.frames) for hit in hits] == [
        ("10.0.1.10:40000", "10.0.1.53:53", (1,)),
        ("", "", (2,)),
    ]


def test_a_segment_larger_than_an_ip_length_is_read_whole() -> None:
    """Segmentation offload: the length in the header is 0."""
    said = bytes(70000) + SECRET.encode()
    (hit,) = found(pcaps.pcap([pcaps.tcp(CLIENT, SERVER, 1, said)])).hits
    assert hit.frames == (1,)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (pcaps.ethernet(pcaps.ip("10.0.1.10", "10.0.2.10", 6, bytes(40), fragment=0x2000)), "IP fragment"),
        (pcaps.tcp(CLIENT, SERVER, 1, b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nxx"), "Content-Encoding: br"),
        (
            pcaps.tcp(CLIENT, SERVER, 1, SNAPPY + b"Content-Length: 6\r\n\r\n\xff\xff\xff\xff\x0fx"),
            "Content-Encoding: snappy",
        ),
        (pcaps.tcp(CLIENT, SERVER, 1, http2.PREFACE + frame(1, 4, 1, b"\xff\xff\xff\xff\xff")), "header block"),
    ],
)
def test_what_cannot_be_looked_into_is_said(frame: bytes, what: str) -> None:
    assert what in "".join(found(pcaps.pcap([frame])).unread)
    assert not found(pcaps.pcap(pcaps.stream(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"))).unread


def test_a_packet_that_was_cut_off_is_said() -> None:
    data = pcaps.pcap([pcaps.tcp(CLIENT, SERVER, 1, b"x" * 20)])
    longer = data[:36] + struct.pack("<I", 1500) + data[40:]
    assert found(longer).unread == {"cut off by the capture": 1}


@pytest.mark.parametrize(("order", "magic"), [("<", 0xA1B23C4D), (">", 0xA1B2C3D4), (">", 0xA1B23C4D)])
def test_every_kind_of_pcap_is_read(order: str, magic: int) -> None:
    assert len(found(pcaps.pcap(pcaps.stream(SECRET.encode()), order, magic)).hits) == 1


def test_a_capture_that_was_killed_is_read_to_its_last_whole_packet() -> None:
    data = pcaps.pcap(pcaps.stream(SECRET.encode()))
    assert found(data + data[24:60]).frames == 2


@pytest.mark.parametrize(
    "content", [b"", b"\x0a\x0d\x0d\x0a" + bytes(60), pcaps.pcap([])[:20] + struct.pack("<I", 113)]
)
def test_what_is_no_capture_of_ethernet_is_refused(content: bytes) -> None:
    with pytest.raises(UsageError, match="pcap"):
        packets(content)


def test_a_secret_too_short_to_mean_something_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Search([("pin", "1234567")])


# --- the parts -----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=4, max_size=9), min_size=1, max_size=6), st.data())
@example([b"aaaa"], None)
def test_needles_are_found_wherever_they_stand(strings: list[bytes], data: st.DataObject | None) -> None:
    hay = (
        b"aaaaaa"
        if data is None
        else data.draw(st.lists(st.sampled_from([*strings, b"a", b"\0"])))
        and b"".join(data.draw(st.lists(st.sampled_from([*strings, b"a", b"\0"]))))
    )
    hay = hay or b""
    expected = {(place, each) for each in strings for place in range(len(hay)) if hay.startswith(each, place)}
    assert set(SearchPatterns(strings).find(hay)) == expected


def test_needles_at_the_seams_of_the_blocks() -> None:
    from experiments.instruments.search import BLOCK

    for place in (0, 1, BLOCK - 5, BLOCK - 2, BLOCK - 1, BLOCK, 2 * BLOCK + 1):
        hay = bytes(place) + b"needle-1" + bytes(3)
        assert list(SearchPatterns([b"needle-1"]).find(hay)) == [(place, b"needle-1")]
    assert list(SearchPatterns([]).find(b"hay")) == []


def test_every_alignment_of_base64_has_a_pattern() -> None:
    for before in range(9):
        coded = base64.b64encode(bytes(range(before)) + SECRET.encode() + b"after")
        assert any(pattern in coded for pattern, form in patterns(SECRET).items() if form == "base64")


def test_far_from_an_escape_nothing_is_kept_twice() -> None:
    below = layers.base(b"x" * 5000 + b"%41" + b"y" * 5000, [])
    (layer,) = layers.unescaped(below, 100)
    assert len(layer.data) < 400
    place = layer.data.index(b"xAy")
    assert layer.origins(place, place + 3) == [(4999, 5000), (5000, 5003), (5003, 5004)]


def test_a_run_knows_its_frames() -> None:
    said = stream_text(packets(pcaps.pcap(pcaps.stream(b"abcdef", [2, 4]))))
    (run,) = said.runs
    assert (run.frames(0, 2), run.frames(1, 3), run.frames(5, 6)) == ({2}, {2, 3}, {4})
    assert said.run(0, 6) is run


def test_hundreds_of_hits_are_told_apart() -> None:
    frames = [pcaps.tcp(CLIENT, SERVER, 1 + 100 * n, (SECRET + f"{n:03}").encode().ljust(100)) for n in range(300)]
    hits = found(pcaps.pcap(frames)).hits
    assert [hit.frames for hit in hits] == [(n,) for n in range(1, 301)]
    assert search.Hit("it", "raw", "10.0.1.10:40000", "10.0.2.10:80", (1,), len(SECRET.encode())) == hits[0]
