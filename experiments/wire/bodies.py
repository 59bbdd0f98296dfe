"""Bodies made readable again: HTTP/1.1 chunks, and whatever is compressed."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator

import cramjam

from experiments.wire.layers import GAP, Layer, Maker

ENCODING = re.compile(rb"\r\n(?:[Tt]ransfer|[Cc]ontent|TRANSFER|CONTENT)-(?:[Ee]ncoding|ENCODING):([^\r\n]*)")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")
GZIP, ZLIB = re.compile(rb"\x1f\x8b\x08"), re.compile(rb"x[\x01\x5e\x9c\xda]")
HEAD_LIMIT = 64 * 1024
BLOCK = 256
MOST = 64 * 1024 * 1024
ANY_HEADER, NO_HEADER = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength:[ \t]*(\d{1,10})[ \t]*\r\n")
READABLE = {"chunked", "identity", "gzip", "x-gzip", "deflate", "compress", "snappy", ""}


def readable(below: Layer, unread: Counter[str]) -> list[Layer]:
    """The layers made of a layer's bodies: out of their chunks, and uncompressed. Counts what it cannot read."""
    bodies = [(begin, _codings(below.data, begin)) for begin in dict.fromkeys(_body_starts(below.data))]
    for _, codings in bodies:
        unread.update(f"Content-Encoding: {coding}" for coding in codings - READABLE)
    whole = _dechunked(below, [begin for begin, codings in bodies if "chunked" in codings])
    raw = [begin for begin, codings in bodies if "deflate" in codings and "chunked" not in codings]
    snappy = [begin for begin, codings in bodies if "snappy" in codings]
    made = [whole, _inflated(below, raw, unread), _unsnapped(below, snappy, unread)]
    if whole is not None:
        deflated = any({"deflate", "chunked"} <= codings for _, codings in bodies)
        starts = [0, *(end + len(GAP) for end in whole.ends)] if deflated else []
        made.append(_inflated(whole, starts, unread))
    return [layer for layer in made if layer is not None]


def _body_starts(data: bytes) -> Iterator[int]:
    for match in ENCODING.finditer(data):
        end = data.find(b"\r\n\r\n", match.start(), match.start() + HEAD_LIMIT)
        if end >= 0:
            yield end + 4


def _codings(data: bytes, body: int) -> set[str]:
    """All that the head before a body says was done to it."""
    head = data[max(0, data.rfind(b"HTTP/1.", 0, body), body - HEAD_LIMIT) : body]
    named = b",".join(match[1] for match in ENCODING.finditer(head)).decode("latin-1").lower()
    return {coding.strip() for coding in named.split(",")}


def _dechunked(below: Layer, starts: list[int]) -> Layer | None:
    maker = Maker("chunked", below)
    for place in starts:
        limit = below.end(place)
        while (match := CHUNK.match(below.data, place, limit)) is not None:
            size = int(match[1], 16)
            maker.copy(match.end(), min(limit, match.end() + size))
            place = match.end() + size + 2
            if not size:
                break
        maker.gap()
    return maker.layer()


def _inflated(below: Layer, raw: list[int], unread: Counter[str]) -> Layer | None:
    """Everything compressed in a layer: whatever begins as gzip or zlib do, and, headless, at the ``raw`` places."""
    maker = Maker("compressed", below)
    for kind in (GZIP, ZLIB):
        end = 0
        for match in kind.finditer(below.data):
            if match.start() >= end:
                end = _inflate(maker, below, match.start(), ANY_HEADER, unread)
    for place in raw:
        _inflate(maker, below, place, NO_HEADER, unread)
    return maker.layer()


def _unsnapped(below: Layer, starts: list[int], unread: Counter[str]) -> Layer | None:
    """Bodies in Snappy's block format, in which metrics are pushed; all but one in the midst of which the text ends."""
    maker = Maker("snappy", below)
    for begin in starts:
        head = below.data[max(0, below.data.rfind(b"POST ", 0, begin), begin - HEAD_LIMIT) : begin]
        found = LENGTH.search(head)
        end = begin + int(found[1]) if found else begin
        body = below.data[begin : min(end, below.end(begin))]
        if found and len(body) < end - begin:
            continue
        try:
            if _snappy_size(body) > MOST:
                raise ValueError
            maker.make(bytes(cramjam.snappy.decompress_raw(body)), begin, end)
        except (ValueError, cramjam.DecompressionError):
            unread["Content-Encoding: snappy"] += 1
        maker.gap()
    return maker.layer()


def _snappy_size(body: bytes) -> int:
    """The size of what is compressed, which stands first: seven bits in each byte, the lowest first."""
    size = 0
    for place, byte in enumerate(body[:5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return size
    raise ValueError


def _inflate(maker: Maker, below: Layer, begin: int, window: int, unread: Counter[str]) -> int:
    """Inflate from ``begin`` on as far as it goes; returns where to look on. Few things that look compressed are."""
    stream = zlib.decompressobj(window)
    place, limit, made = begin, below.end(begin), 0
    while place < limit and not stream.eof:
        block = below.data[place : min(limit, place + BLOCK)]
        try:
            out = stream.decompress(block)
        except zlib.error:
            break
        used = len(block) - len(stream.unused_data)
        maker.make(out, place, place + used)
        place += used
        made += len(out)
        if made > MOST:
            unread["more than 64 MB in one compressed body"] += 1
            break
    if made:
        maker.gap()
    return place if stream.eof else begin + 1
