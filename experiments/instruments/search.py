"""Is a secret readable in a capture, in whatever form? Where, in which direction, and in which frames?

file -> packets -> streams -> layers (bodies, HTTP/2, escapes undone) -> every form of every secret
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from experiments.instruments.searchpatterns import SearchPatterns, patterns
from experiments.wire import bodies, http2
from experiments.wire.layers import Layer, base, unescaped
from experiments.wire.pcap import packets
from experiments.wire.streams import StreamRun, Text, stream_text


@dataclass(frozen=True)
class Hit:
    """One place where a secret can be read. ``form``: from the outside in, ``chunked, compressed, HTML-escaped``.

    ``frames`` carry it, by Wireshark's numbers; ``length`` is how many bytes of the stream say it.
    """

    secret: str
    form: str
    src: str
    dst: str
    frames: tuple[int, ...]
    length: int


@dataclass
class Found:
    """The result of a search. ``unread`` counts the parts that could not be looked into: they were not searched."""

    hits: list[Hit]
    frames: int
    text: Text = field(repr=False)
    unread: Counter[str]


class Search:
    """A search for (name, secret) pairs, made once for many captures. Raises ValueError for a secret too short."""

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        self._meanings: dict[bytes, list[tuple[str, str]]] = {}
        for name, secret in secrets:
            for pattern, form in patterns(secret).items():
                self._meanings.setdefault(pattern, []).append((name, form))
        self._patterns = SearchPatterns(self._meanings)
        self._reach = max(map(len, self._meanings), default=0)

    def capture(self, data: bytes) -> Found:
        """Search the content of a pcap file."""
        taken = packets(data)
        said = stream_text(taken)
        return Found(self.said(said, taken.unread), taken.frames, said, taken.unread)

    def said(self, said: Text, unread: Counter[str]) -> list[Hit]:
        """Search what was said; adds to ``unread`` what could not be looked into."""
        found: dict[str, list[tuple[int, int]]] = {}
        hits = []
        for layer in self._layers(said, unread):
            for place, pattern in self._patterns.find(layer.data):
                if layer.only_copied(place, place + len(pattern)):
                    continue
                origins = layer.origins(place, place + len(pattern))
                run = _same_run(said, origins)
                if run is None:
                    continue
                for name, form in self._meanings[pattern]:
                    if not _overlap(found.setdefault(name, []), origins):
                        found[name] += origins
                        hits.append(_hit(name, _named(layer.forms, form), run, origins))
        return sorted(hits, key=lambda hit: (hit.frames, hit.src))

    def _layers(self, said: Text, unread: Counter[str]) -> Iterator[Layer]:
        """The text itself, then everything that can be made of it."""
        bottom = base(said.data, [run.end for run in said.runs])
        made = [bottom, *http2.readable(said, bottom, unread)]
        made += [body for layer in list(made) for body in bodies.readable(layer, unread)]
        yield from made
        for layer in made:
            yield from unescaped(layer, self._reach)


def _same_run(said: Text, origins: Iterable[tuple[int, int]]) -> StreamRun | None:
    """The run that all of it lies in; bytes in two runs were sent by no side."""
    runs = [said.run(*origin) for origin in origins]
    return runs[0] if runs and all(run is runs[0] for run in runs) else None


def _overlap(known: list[tuple[int, int]], origins: list[tuple[int, int]]) -> bool:
    """The same place, read in two ways, is one place."""
    return any(begin < last and first < end for begin, end in origins for first, last in known)


def _named(made: tuple[str, ...], form: str) -> str:
    """In words. What was undone says it all where nothing else had to be; a + is part of percent-encoding."""
    plain = form == "raw" or made[-1:] == ("percent-encoded",)
    return ", ".join(made if made and plain else (*made, form))


def _hit(name: str, form: str, run: StreamRun, origins: list[tuple[int, int]]) -> Hit:
    frames = {frame for origin in origins for frame in run.frames(*origin)}
    length = sum(end - begin for begin, end in origins)
    return Hit(name, form, run.src, run.dst, tuple(sorted(frames)), length)
