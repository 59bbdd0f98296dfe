"""Is a secret readable in a capture, in whatever form? Where, in which direction, and in which frames?

file -> packets -> streams -> layers (bodies, HTTP/2, escapes undone) -> every form of every secret

A form is bytes to look for that do not depend on what stands around the secret: those that do (escapes, chunks,
compression, HTTP/2) are undone in ``layers``, ``bodies`` and ``http2`` first. Hundreds are looked for at once.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from experiments.wire import bodies, http2
from experiments.wire.layers import MOST_MADE, Layer, base, unescaped
from experiments.wire.pcap import packets
from experiments.wire.streams import StreamRun, Text, stream_text

# shorter ones would be found by chance
SHORTEST = 8
BLOCK = 1 << 18
PAIRS = 1 << 16


def patterns(secret: str) -> dict[bytes, str]:
    """Bytes to look for, each with the name of its form. Raises ValueError for a secret that is too short."""
    said = secret.encode()
    if len(said) < SHORTEST:
        raise ValueError(f"a secret of {len(said)} bytes is too short to mean something when found")
    found: dict[bytes, str] = {}
    for form, pattern in _forms(said, secret):
        if len(pattern) >= SHORTEST:
            found.setdefault(pattern, form)
    return found


def _forms(said: bytes, secret: str) -> Iterator[tuple[str, bytes]]:
    yield "raw", said
    yield "form-encoded", said.replace(b" ", b"+")
    for code in ("utf-16-le", "utf-16-be"):
        yield "UTF-16", secret.encode(code)
    yield "hex", said.hex().encode()
    yield "hex", said.hex().upper().encode()
    for pattern in _base64(said):
        yield "base64", pattern
        yield "base64", pattern.translate(bytes.maketrans(b"+/", b"-_"))
    for pattern in _huffman(said):
        yield "HPACK-Huffman", pattern


def _base64(said: bytes) -> Iterator[bytes]:
    """With 0, 1 and 2 unknown bytes before it: the characters that do not depend on its neighbours."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + said + bytes(2))
        yield encoded[(0, 2, 3)[before] : (before + len(said)) * 8 // 6]


def _huffman(said: bytes) -> Iterator[bytes]:
    """As HTTP/2 and HTTP/3 shorten header fields: the whole bytes, for each of the 8 bits at which it may begin."""
    bits = "".join(f"{REQUEST_CODES[byte]:0{REQUEST_CODES_LENGTH[byte]}b}" for byte in said)
    for skipped in range(8):
        whole = (len(bits) - skipped) // 8
        yield int(bits[skipped : skipped + whole * 8], 2).to_bytes(whole, "big")


class SearchPatterns:
    """A set of strings, each at least 4 bytes long."""

    def __init__(self, strings: Iterable[bytes]) -> None:
        self._by_core: dict[int, list[tuple[bytes, int]]] = {}
        self._pairs = np.zeros(PAIRS, dtype=bool)
        for string in set(strings):
            # from the middle: beginnings are more often alike
            offset = len(string) // 2 - 2
            core = int.from_bytes(string[offset : offset + 4], "little")
            self._by_core.setdefault(core, []).append((string, offset))
            self._pairs[core & 0xFFFF] = True
        self._cores = np.array(sorted(self._by_core), dtype=np.uint32)

    def find(self, haystack: bytes) -> Iterator[tuple[int, bytes]]:
        """(place, string) of every occurrence, overlapping ones too."""
        for start in range(0, len(haystack) - 3, BLOCK):
            for place, core in self._candidates(haystack, start):
                for string, offset in self._by_core[core]:
                    if place >= offset and haystack.startswith(string, place - offset):
                        yield place - offset, string

    def _candidates(self, haystack: bytes, start: int) -> Iterator[tuple[int, int]]:
        """(place, core) of each known core that begins in a block."""
        for begin in (start, start + 1):
            count = min(BLOCK // 2, (len(haystack) - 2 - begin) // 2)
            if count <= 0:
                continue
            pairs = np.frombuffer(haystack, "<u2", count + 1, begin)
            known = np.flatnonzero(np.take(self._pairs, pairs[:count], mode="wrap"))
            cores = pairs[known].astype(np.uint32) | pairs[known + 1].astype(np.uint32) << np.uint32(16)
            for index in np.flatnonzero(np.isin(cores, self._cores)):
                yield begin + 2 * int(known[index]), int(cores[index])


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
        unread.update(f"{layer.form}: more than {MOST_MADE >> 20} MB" for layer in made if layer.cut)
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
