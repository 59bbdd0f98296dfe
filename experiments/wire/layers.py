"""Bytes that were made from other bytes, and the way back: a body from its chunks, a text from its escapes.

What is found in a layer is found in the capture: each piece of it knows which bytes it was made from.
"""

from __future__ import annotations

import html
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

# between two things that do not belong together: no secret is made of it
GAP = b"\0" * 8
MOST_MADE = 256 << 20  # bytes of a layer that are not bytes of the capture


class LayerPiece(NamedTuple):
    """From ``start`` on it was made from bytes ``begin`` to ``end`` below; ``copied``: they are the same bytes."""

    start: int
    begin: int
    end: int
    copied: bool


class Layer:
    """``form`` says how it was made; ``below`` is what it was made from, None for the capture's own text.

    ``ends``: where something ends and what follows does not belong to it; ``cut``: not all of it is there.
    """

    def __init__(
        self,
        form: str,
        data: bytes,
        pieces: list[LayerPiece],
        ends: list[int],
        below: Layer | None,
        *,
        cut: bool = False,
    ) -> None:
        self.form = form
        self.cut = cut
        self.data = data
        self.ends = ends
        self.below = below
        self._pieces = pieces
        self._starts = [piece.start for piece in pieces]

    def end(self, place: int) -> int:
        """The end of the part that stands at ``place``."""
        index = bisect_right(self.ends, place)
        return self.ends[index] if index < len(self.ends) else len(self.data)

    @property
    def forms(self) -> tuple[str, ...]:
        """The steps that made it, the outermost first."""
        above = self.below.forms if self.below else ()
        return (*above, self.form) if self.form else above

    def origins(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The ranges of the capture's text that these bytes were made from."""
        if self.below is None:
            return [(begin, end)]
        return [origin for span in self._spans(begin, end) for origin in self.below.origins(*span)]

    def only_copied(self, begin: int, end: int) -> bool:
        """Do these very bytes stand below, in one piece? Then they were found there."""
        if self.below is None:
            return False
        first, last = self._at(begin), self._at(end - 1)
        return first == last and self._pieces[first].copied

    def _at(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _spans(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        for piece in self._pieces[self._at(begin) : self._at(end - 1) + 1]:
            if piece.begin == piece.end:
                continue
            if piece.copied:
                yield (
                    max(piece.begin, piece.begin + begin - piece.start),
                    min(piece.end, piece.begin + end - piece.start),
                )
            else:
                yield piece.begin, piece.end


class Maker:
    """Puts a layer together, piece by piece."""

    def __init__(self, form: str, below: Layer) -> None:
        self._form = form
        self._below = below
        self._chunks: list[bytes] = []
        self._pieces: list[LayerPiece] = []
        self._size = self._made = 0

    def copy(self, begin: int, end: int) -> None:
        """These bytes of the layer below, as they are."""
        if begin < end:
            self._add(self._below.data[begin:end], begin, end, copied=True)

    def make(self, made: bytes, begin: int, end: int) -> None:
        """Add bytes that were made from these of the layer below, as long as it is not ``full``."""
        self._made += len(made)
        if made and not self.full:
            self._add(made, begin, end, copied=False)

    @property
    def full(self) -> bool:
        """More was made than is kept: a few bytes of a stranger's may say that they stand for very many."""
        return self._made > MOST_MADE

    def gap(self) -> None:
        """Separate the bytes that come now from those before."""
        self._add(GAP, 0, 0, copied=False)

    def _add(self, chunk: bytes, begin: int, end: int, *, copied: bool) -> None:
        self._pieces.append(LayerPiece(self._size, begin, end, copied))
        self._chunks.append(chunk)
        self._size += len(chunk)

    def layer(self) -> Layer | None:
        """The layer; None when there is nothing in it."""
        if all(piece.begin == piece.end for piece in self._pieces):
            return None
        ends = [piece.start for piece in self._pieces if piece.begin == piece.end]
        return Layer(self._form, b"".join(self._chunks), self._pieces, ends, self._below, cut=self.full)


def base(data: bytes, ends: list[int]) -> Layer:
    """The layer on which all others stand."""
    return Layer("", data, [], ends, None)


PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
BACKSLASH = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/bfnrt0Z])"
)
ENTITY = re.compile(rb"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"Z": b"\x1a"}


def _percent(match: re.Match[bytes]) -> bytes:
    """A space becomes the + that it may be written as too: one text may hold both."""
    return b"+" if match[1] == b"20" else bytes.fromhex(match[1].decode())


def _backslash(match: re.Match[bytes]) -> bytes:
    """As in JSON, and in MariaDB's string literals."""
    escape = match[0][1:]
    if escape[:1] == b"u":
        units = bytes.fromhex(escape.replace(b"\\u", b"").decode()[1:])
        return units.decode("utf-16-be", "replace").encode()
    if escape[:1] == b"x":
        return bytes.fromhex(escape[1:].decode())
    return LETTERS.get(escape, escape)


def _entity(match: re.Match[bytes]) -> bytes:
    name = match[0][1:-1].decode()
    if not name.startswith("#"):
        return html.unescape(f"&{name};").encode()
    number = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(min(number, sys.maxunicode)).encode("utf-8", "replace")


ESCAPES: tuple[tuple[str, re.Pattern[bytes], Callable[[re.Match[bytes]], bytes]], ...] = (
    ("percent-encoded", PERCENT, _percent),
    ("backslash-escaped", BACKSLASH, _backslash),
    ("HTML-escaped", ENTITY, _entity),
)


def unescaped(below: Layer, reach: int) -> Iterator[Layer]:
    """The layer without its escapes, one layer for each kind that it has.

    What lies farther than ``reach`` bytes from any escape is left out: it is the same as below.
    """
    for form, pattern, meaning in ESCAPES:
        maker, place = Maker(form, below), 0
        for match in pattern.finditer(below.data):
            _between(maker, place, match.start(), reach)
            maker.make(meaning(match), match.start(), match.end())
            place = match.end()
        if place:
            maker.copy(place, min(len(below.data), place + reach))
            if (layer := maker.layer()) is not None:
                yield layer


def _between(maker: Maker, begin: int, end: int, reach: int) -> None:
    """Copy the text between two escapes, or its ends when it is long."""
    if end - begin <= 2 * reach:
        return maker.copy(begin, end)
    maker.copy(begin, begin + reach)
    maker.gap()
    return maker.copy(end - reach, end)
