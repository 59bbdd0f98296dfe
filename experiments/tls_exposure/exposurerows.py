"""From what a search found to rows of evidence: which secret, on which link, in which direction, in which frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from experiments.instruments.search import Hit
from experiments.wire.streams import StreamRun, Text

#: so many frame numbers a row shows; it counts all
SHOWN_FRAMES = 20


#: the TLS version of a connection whose beginning was not captured
BEGUN_BEFORE = "TLS begun before"
#: the link of what has no ports: ARP, pings
OTHER = "other"


class LinkDirection(NamedTuple):
    """A direction on a link. ``link`` names the asking side, the answering side and its port: ``lb-srv1:80``."""

    link: str
    src: str
    dst: str


def link_direction(hosts: Mapping[str, str], src: str, dst: str) -> LinkDirection:
    """Between two ``address:port``; ``hosts``: names by address. Who answers has the smaller port number."""
    (one, here), (other, there) = _end(hosts, src), _end(hosts, dst)
    if not here or not there:
        return LinkDirection(OTHER, one, other)
    asks, answers, port = (one, other, there) if there < here else (other, one, here)
    return LinkDirection(f"{asks}-{answers}:{port}", one, other)


def _end(hosts: Mapping[str, str], end: str) -> tuple[str, int]:
    address, _, port = end.partition(":")
    return hosts.get(address, address), int(port or 0)


def rows(file: str, hosts: Mapping[str, str], hits: Iterable[Hit]) -> list[dict[str, Any]]:
    """One row for each secret, way and form that was found in a capture."""
    grouped: dict[tuple[str, LinkDirection, str], list[Hit]] = {}
    for hit in hits:
        grouped.setdefault((hit.secret, link_direction(hosts, hit.src, hit.dst), hit.form), []).append(hit)
    return [_row(file, *key, found) for key, found in grouped.items()]


def _row(file: str, secret: str, on: LinkDirection, form: str, hits: list[Hit]) -> dict[str, Any]:
    frames = sorted({frame for hit in hits for frame in hit.frames})
    return {
        "secret": secret,
        "link": on.link,
        "from": on.src,
        "to": on.dst,
        "form": form,
        "packets": len(frames),
        "bytes": sum(hit.length for hit in hits),
        "file": file,
        "frames": frames[:SHOWN_FRAMES],
    }


def links(
    file: str, hosts: Mapping[str, str], said: Text, hellos: Mapping[int, str], inside: Text, since: int
) -> list[dict[str, Any]]:
    """Every link that a capture saw: bytes, connections, how many in which TLS, and how many the key log did not open.

    ``hellos``: the TLS version of each ServerHello, by frame; ``since``: the frame from which on keys were logged. A
    connection that ended before is not asked whether it could be opened.
    """
    opened = {_connection(run) for run in inside.runs}
    encrypted: dict[Connection, str] = {}
    for run in said.runs:
        versions = [hellos[frame] for _, _, frame in run.parts if frame in hellos]
        if max(frame for _, _, frame in run.parts) >= since and (versions or holds_tls_records(said.data, run)):
            encrypted[_connection(run)] = (*versions, encrypted.get(_connection(run), BEGUN_BEFORE))[0]
    seen: dict[str, dict[str, Any]] = {}
    for run in said.runs:
        row = seen.setdefault(
            link_direction(hosts, run.src, run.dst).link, {"file": file, "bytes": 0, "connections": set()}
        )
        row["bytes"] += run.end - run.start
        row["connections"].add(_connection(run))
    return [{"link": name, **row, **_counted(row["connections"], encrypted, opened)} for name, row in seen.items()]


Connection = frozenset[str]


def _connection(run: StreamRun) -> Connection:
    return frozenset((run.src, run.dst))


def _counted(on_it: set[Connection], encrypted: Mapping[Connection, str], opened: set[Connection]) -> dict[str, Any]:
    tls = [connection for connection in on_it if connection in encrypted]
    return {
        "connections": len(on_it),
        "tls": dict(sorted(Counter(encrypted[connection] for connection in tls).items())),
        "dark": sum(connection not in opened for connection in tls),
    }


# --- TLS as it looks on the link: one record after the other

HEADER = 5
# content type, version: what every record begins with
BEGINNING = re.compile(rb"[\x14-\x17]\x03[\x01-\x04]")
# so far from a run's beginning a record is looked for: one is 16 KB at most
FAR = 20_000


def holds_tls_records(data: bytes, run: StreamRun) -> bool:
    """Does a run hold records? One is followed by the next, or ends with the run."""
    return any(
        _follows(data, match.start(), run.end)
        for match in BEGINNING.finditer(data, run.start, min(run.end, run.start + FAR))
    )


def _follows(data: bytes, place: int, end: int) -> bool:
    if place + HEADER > end:
        return False
    after = place + HEADER + int.from_bytes(data[place + 3 : place + HEADER], "big")
    return after == end or (after < end and BEGINNING.match(data, after, end) is not None)
