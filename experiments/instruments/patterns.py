"""Looking for hundreds of byte strings at once, at about the speed of looking for one.

Each string is known by two bytes of it: a table of all 65,536 pairs says, for a whole block of the haystack in one
step, where such a pair stands (numpy). The few places that are left are compared in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK = 1 << 18
PAIRS = 1 << 16


class Needles:
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
