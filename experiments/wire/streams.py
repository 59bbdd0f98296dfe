"""The data of each side of a conversation as the other side's program read it: TCP segments put together.

    packets -> runs -> one text, in which a place leads back to the frames that carried it

A *run* is data that one side sent without a hole in between: in order, each byte once. A segment that was sent again
adds nothing to a run but carries its bytes all the same; one that says something else the second time is a run of its
own: an eavesdropper on the link has read both.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from experiments.wire.pcap import Datagram, Packets, Segment

WINDOW = 1 << 32
HALF = WINDOW >> 1


@dataclass
class StreamRun:
    """Bytes ``start`` to ``end`` of the text, from ``src`` to ``dst`` (``address:port``, or as much as is known).

    ``parts``: (where it starts in the text, length, frame) of every packet that carried some of it, by start.
    """

    src: str
    dst: str
    start: int
    end: int
    parts: list[tuple[int, int, int]] = field(repr=False)

    def frames(self, begin: int, end: int) -> set[int]:
        """The frames that carried any of these bytes of the text."""
        longest = max(length for _, length, _ in self.parts)
        first = bisect_left(self.parts, (begin - longest,))
        last = bisect_left(self.parts, (end,))
        return {frame for start, length, frame in self.parts[first:last] if start + length > begin}


@dataclass
class Text:
    """All runs of a capture, one after the other."""

    data: bytes
    runs: list[StreamRun]

    def __post_init__(self) -> None:
        self._starts = [run.start for run in self.runs]

    def run(self, begin: int, end: int) -> StreamRun | None:
        """The run that these bytes lie in; None when they lie in more than one: no side sent that."""
        containing = self.runs[bisect_right(self._starts, begin) - 1]
        return containing if end <= containing.end else None


def stream_text(packets: Packets) -> Text:
    """Everything that was said in a capture."""
    chunks: list[bytes] = []
    runs: list[StreamRun] = []
    start = 0
    for src, dst, content, parts in _said(packets):
        placed = [(start + offset, length, frame) for offset, length, frame in parts]
        runs.append(StreamRun(src, dst, start, start + len(content), placed))
        chunks.append(content)
        start += len(content)
    return Text(b"".join(chunks), runs)


Said = tuple[str, str, bytes, list[tuple[int, int, int]]]


def _said(packets: Packets) -> Iterator[Said]:
    for src, dst, segments in packets.connections:
        for content, parts in runs(packets.data, segments):
            yield src, dst, content, parts
    for datagram in packets.datagrams:
        yield _alone(packets.data, datagram)


def _alone(data: bytes, datagram: Datagram) -> Said:
    return (
        datagram.src,
        datagram.dst,
        data[datagram.begin : datagram.end],
        [(0, datagram.end - datagram.begin, datagram.frame)],
    )


def runs(data: bytes, segments: list[Segment]) -> Iterator[tuple[bytes, list[tuple[int, int, int]]]]:
    """(content, [(offset, length, frame)]) of each run of one direction; ``data`` is the file's content."""
    view = memoryview(data)
    chunks: list[memoryview] = []
    parts: list[tuple[int, int, int]] = []
    again: list[tuple[int, Segment]] = []
    start = end = 0
    for position, segment in sorted(_unwrapped(segments)):
        _, frame, begin, stop = segment
        length = stop - begin
        if position > end or not parts:
            yield from _closed(data, chunks, parts, again)
            chunks, parts, again = [], [], []
            start = end = position
        known = end - position
        if known:
            again.append((position - start, segment))
        if known < length:
            chunks.append(view[begin + known : stop])
            end = position + length
        parts.append((position - start, length, frame))
    yield from _closed(data, chunks, parts, again)


def _closed(
    data: bytes, chunks: Iterable[memoryview], parts: list[tuple[int, int, int]], again: list[tuple[int, Segment]]
) -> Iterator[tuple[bytes, list[tuple[int, int, int]]]]:
    """A run that is whole; then each segment that contradicts it."""
    content = b"".join(chunks)
    if content:
        yield content, [part for part in parts if part[1]]
    for offset, (_, frame, begin, end) in again:
        said = data[begin:end]
        if not content.startswith(said, offset):
            yield said, [(0, len(said), frame)]


def _unwrapped(segments: list[Segment]) -> Iterator[tuple[int, Segment]]:
    """Each segment with its place in the stream: sequence numbers begin again at 2**32."""
    last = segments[0][0] if segments else 0
    for segment in segments:
        last += ((segment[0] - last + HALF) & (WINDOW - 1)) - HALF
        yield last, segment
