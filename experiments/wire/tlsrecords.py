"""TLS as somebody on the link sees it: one record after the other."""

from __future__ import annotations

import re

from experiments.wire.streams import Run

HEADER = 5
# content type, version: what every record begins with
BEGINNING = re.compile(rb"[\x14-\x17]\x03[\x01-\x04]")
# so far from a run's beginning a record is looked for: one is 16 KB at most
FAR = 20_000


def are_in(data: bytes, run: Run) -> bool:
    """Whether a run holds records: one is followed by the next, or ends with the run."""
    return any(
        _follows(data, found.start(), run.end)
        for found in BEGINNING.finditer(data, run.start, min(run.end, run.start + FAR))
    )


def _follows(data: bytes, place: int, end: int) -> bool:
    if place + HEADER > end:
        return False
    after = place + HEADER + int.from_bytes(data[place + 3 : place + HEADER], "big")
    return after == end or (after < end and BEGINNING.match(data, after, end) is not None)
