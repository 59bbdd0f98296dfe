"""MariaDB's log-in, as an eavesdropper on the link sees it: never the password, but what proves it.

``mysql_native_password`` sends SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))). The nonce is in the server's
greeting. Who has both can try passwords at home: a long random one withstands that, a word does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from experiments.instruments.search import Hit
from experiments.wire.streams import StreamRun, Text

FORM = "log-in scramble"
HEADER, PROTOCOL = 4, 10


def scrambles(said: Text, passwords: Iterable[tuple[str, str]]) -> list[Hit]:
    """Each place where the proof of one of the (name, password) pairs went over the wire in plain sight."""
    known = list(passwords)
    asking: dict[tuple[str, str], list[StreamRun]] = {}
    for run in said.runs:
        asking.setdefault((run.dst, run.src), []).append(run)
    return [
        hit
        for greeting in said.runs
        if (nonce := _nonce(said.data[greeting.start : min(greeting.end, greeting.start + 512)])) is not None
        for run in asking.get((greeting.src, greeting.dst), [])
        for name, password in known
        for hit in _hits(said, run, name, scramble(password, nonce))
    ]


def scramble(password: str, nonce: bytes) -> bytes:
    """A client's answer to a nonce."""
    once = hashlib.sha1(password.encode()).digest()
    mask = hashlib.sha1(nonce + hashlib.sha1(once).digest()).digest()
    return bytes(a ^ b for a, b in zip(once, mask, strict=True))


def _nonce(said: bytes) -> bytes | None:
    """The 20 bytes of a server's greeting, if that is what it is."""
    if len(said) < 48 or said[3] != 0 or said[HEADER] != PROTOCOL:
        return None
    thread = said.find(b"\0", HEADER + 1) + 1
    first, second = thread + 4, thread + 31
    nonce = said[first : first + 8] + said[second : second + 12]
    return nonce if thread and len(nonce) == 20 else None


def _hits(said: Text, run: StreamRun, name: str, proof: bytes) -> Iterator[Hit]:
    place = said.data.find(proof, run.start, run.end)
    if place >= 0:
        frames = run.frames(place, place + len(proof))
        yield Hit(name, FORM, run.src, run.dst, tuple(sorted(frames)), len(proof))
