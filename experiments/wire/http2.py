"""HTTP/2 made readable: header blocks out of HPACK, bodies out of their DATA frames."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from hpack import Decoder, HPACKError

from experiments.wire.layers import Layer, Maker
from experiments.wire.streams import StreamRun, Text

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PUSH_PROMISE, CONTINUATION = 0, 1, 4, 5, 9
END_HEADERS, PADDED, PRIORITY = 0x04, 0x08, 0x20
FRAME_HEADER = 9
_frame = struct.Struct(">HBBBI").unpack_from
# what a sender may make its table, once both have agreed; whether they did is not looked at
LARGEST_TABLE = 1 << 20


class Http2Frame(NamedTuple):
    """A frame's payload, without its padding: bytes ``begin`` to ``end`` of the text."""

    kind: int
    flags: int
    stream: int
    begin: int
    end: int


def readable(text: Text, below: Layer, unread: Counter[str]) -> list[Layer]:
    """Two layers, headers and bodies, of every HTTP/2 connection that was captured from its beginning on."""
    headers, bodies = Maker("HTTP/2 header", below), Maker("HTTP/2 body", below)
    for run, begin in _spoken(text):
        frames = list(_frames(text.data, begin, run.end))
        _read_headers(headers, text.data, frames, unread)
        _read_bodies(bodies, frames)
    return [layer for layer in (headers.layer(), bodies.layer()) if layer is not None]


def _spoken(text: Text) -> Iterator[tuple[StreamRun, int]]:
    """Both sides of each HTTP/2 connection, with where their first frame begins."""
    asking = [run for run in text.runs if text.data.startswith(PREFACE, run.start, run.end)]
    sides = {(run.dst, run.src) for run in asking}
    yield from ((run, run.start + len(PREFACE)) for run in asking)
    for run in text.runs:
        if (run.src, run.dst) in sides and text.data[run.start + 3 : run.start + 4] == bytes([SETTINGS]):
            yield run, run.start


def _frames(data: bytes, place: int, limit: int) -> Iterator[Http2Frame]:
    while place + FRAME_HEADER <= limit:
        high, low, kind, flags, stream = _frame(data, place)
        begin = place + FRAME_HEADER
        place = begin + (high << 8) + low
        end = min(place, limit)
        if kind in (DATA, HEADERS, PUSH_PROMISE) and flags & PADDED and begin < end:
            end -= data[begin]
            begin += 1
        if kind == HEADERS and flags & PRIORITY:
            begin += 5
        if kind == PUSH_PROMISE:
            begin += 4
        yield Http2Frame(kind, flags, stream & 0x7FFFFFFF, begin, end)


def _read_headers(maker: Maker, data: bytes, frames: list[Http2Frame], unread: Counter[str]) -> None:
    decoder = Decoder(max_header_list_size=LARGEST_TABLE)
    decoder.max_allowed_table_size = LARGEST_TABLE
    block, begin = b"", 0
    for frame in frames:
        if frame.kind in (HEADERS, PUSH_PROMISE):
            block, begin = b"", frame.begin
        if frame.kind not in (HEADERS, PUSH_PROMISE, CONTINUATION):
            continue
        block += data[frame.begin : frame.end]
        if not frame.flags & END_HEADERS:
            continue
        try:
            listed = decoder.decode(block, raw=True)
        except HPACKError:
            unread["an HTTP/2 header block"] += 1
            return
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in listed)
        maker.make(lines, begin, frame.end)
        maker.gap()


def _read_bodies(maker: Maker, frames: list[Http2Frame]) -> None:
    streams: dict[int, list[Http2Frame]] = {}
    for frame in frames:
        if frame.kind == DATA:
            streams.setdefault(frame.stream, []).append(frame)
    for pieces in streams.values():
        for frame in pieces:
            maker.copy(frame.begin, frame.end)
        maker.gap()
