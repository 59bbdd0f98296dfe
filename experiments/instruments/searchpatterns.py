"""The forms in which a secret can stand on a wire, as bytes to look for, and looking for hundreds of them at once.

Only forms that do not depend on what stands around the secret: those that do (escapes, chunks, compression, HTTP/2) are
undone in ``layers``, ``bodies`` and ``http2`` first.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

import numpy as np
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

# shorter ones would be found by chance
SHORTEST = 8


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


BLOCK = 1 << 18
PAIRS = 1 << 16


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
