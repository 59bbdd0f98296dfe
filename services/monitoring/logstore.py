"""The log store on the monitoring host: JSON lines, in pieces of bounded size; how they are found again.

A line may be there twice (each is sent until it is confirmed): host, file, offset and text tell, and it is read once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from services.monitoring import logrecord
from services.monitoring.logrecord import TIERS, LogRecord
from topo.errors import UsageError
from topo.folders import READ, Folder

FOLDER = "/var/lib/logs"
NAME = "all.jsonl"
CURRENT = f"{FOLDER}/{NAME}"
#: the newest piece is written to; more than so many are never kept
PIECE_MIB, PIECES = 32, 4
#: the health checks of the balancer, many a second: shown when they are asked for
HEALTH = "/healthz"
#: a search answers with the newest so many
MOST = 10_000
#: the store is written in the order of arrival, within so many seconds
ORDER_S = 10.0

_LINE, _READ = b'"line":"', re.compile(rb'"read":"([^"]{19,40})"')
_DATE = rb"\[?\d{4}[-/]\d\d[-/]\d\d[ T]"
#: halves of characters that are no byte in disguise (PEP 383)
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
#: the part of a character in JSON at which a line may have been cut
_PART = re.compile(r"(\\(u[0-9A-Fa-f]{0,3})?)?$")
#: the beginning of an entry that may have further rows, and of a line that is none of them
_OPENS, _BEGINS = re.compile(_DATE), re.compile(rb"\{|\[|" + _DATE)


@dataclass(frozen=True)
class LogQuery:
    """The records that are looked for: each word that is given must fit. ``since``: Unix seconds."""

    host: str = ""
    service: str = ""
    since: float = 0.0
    grep: str = ""
    request: str = ""
    level: str = ""

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Bytes that every stored line has that fits; in a line of JSON nothing else can stand for them."""
        words = (f'"host":"{self.host}"' if self.host else "", self.request, self._grep_as_stored)
        return tuple(word.encode() for word in words if word)

    @property
    def _grep_as_stored(self) -> str:
        """As a shipper writes it in JSON; nothing where that can be written in more than one way."""
        return json.dumps(self.grep, ensure_ascii=False)[1:-1] if self.grep.isprintable() else ""

    @property
    def shows_health(self) -> bool:
        return bool(self.request) or HEALTH.strip("/") in self.grep

    def fits(self, record: LogRecord, line: str) -> bool:
        """``line``: what was logged, which is more than a record's text."""
        return (
            (not self.host or record.host == self.host)
            and (not self.service or record.service == self.service)
            and record.time >= self.since
            and self.grep in line
            and (not self.request or record.request == self.request)
            and (not self.level or record.is_at_least(self.level))
            and (self.shows_health or HEALTH not in record.text)
        )


@dataclass
class LogSearch:
    """Stored lines in, records out; ``cut``: lines of which a part is missing."""

    query: LogQuery
    cut: int = 0
    _seen: set[int] = field(default_factory=set, repr=False)
    _open: dict[bytes, list[bytes] | None] = field(default_factory=dict, repr=False)

    def records(self, lines: Iterable[bytes]) -> list[LogRecord]:
        """Those that fit, in order of time; of one request, in the order of the tiers."""
        fitting = [record for entry in self._entries(lines) for record in self._of(entry)]
        return sorted(fitting, key=in_tiers if self.query.request else lambda record: record.time)

    def _entries(self, lines: Iterable[bytes]) -> Iterator[list[bytes]]:
        """Each entry with all its rows, once. A row is of the entry before it in the same file."""
        entries: list[list[bytes]] = []
        for line in lines:
            head, found, text = line.partition(_LINE)
            place, _, where = head.partition(b',"offset":')
            mark = hash((place, where.partition(b",")[0], text))
            if not found or mark in self._seen:
                continue
            self._seen.add(mark)
            opened = self._open.get(place)
            if opened is not None and not _BEGINS.match(text):
                opened.append(line)
                continue
            entries.append([line])
            self._open[place] = entries[-1] if _OPENS.match(text) else None
        needles = self.query.needles
        yield from (entry for entry in entries if all(any(word in row for row in entry) for word in needles))

    def _of(self, entry: list[bytes]) -> Iterator[LogRecord]:
        first, *further = (self._stored(row) for row in entry)
        if further:
            first = {**first, "line": "\n".join(str(row.get("line", "")) for row in (first, *further))}
        record = logrecord.record(first)
        if self.query.fits(record, str(first.get("line", ""))):
            yield record

    def _stored(self, line: bytes) -> dict[str, Any]:
        """A stored line; one that was cut at the longest length, as far as it goes."""
        text = line.decode(errors="surrogateescape")
        for whole in (text, f"{text}}}", _PART.sub('"}', text, count=1)):
            with suppress(ValueError, RecursionError):
                row = json.loads(whole)
                if isinstance(row, dict):
                    self.cut += whole is not text
                    return {**row, "line": _characters(str(row.get("line", "")))}
        self.cut += 1
        return {"line": _characters(text)}


def _characters(text: str) -> str:
    """Text of which every byte that is none is written as ``\\xff``."""
    return _HALF.sub("?", text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def in_tiers(record: LogRecord) -> tuple[int, float]:
    """The key that sorts a request's records as it met the services."""
    tier = TIERS.index(record.service) if record.service in TIERS else len(TIERS)
    return tier, record.began


@dataclass(frozen=True)
class Cursor:
    """A place in the store up to which it was read: the number of the newest piece's file, and a position in it."""

    inode: int = 0
    position: int = 0


def end(folder: Folder) -> Cursor:
    """The end of the store."""
    status = folder.status(NAME)
    return Cursor(status.st_ino, status.st_size) if status else Cursor()


def stored(folder: Folder, since: float = 0.0) -> Iterator[bytes]:
    """The lines of every piece that may have one written since then, the oldest piece first."""
    for number in range(PIECES - 1, -1, -1):
        name = f"{NAME}.{number}" if number else NAME
        status = folder.status(name)
        if status is not None and status.st_mtime >= since:
            with suppress(UsageError):  # it has just become the next one
                yield from _since(folder, name, since)


def _since(folder: Folder, name: str, since: float) -> Iterator[bytes]:
    with os.fdopen(folder.open(name, READ), "rb") as piece:
        piece.seek(_beginning(piece, os.fstat(piece.fileno()).st_size, since))
        yield from (line.rstrip(b"\n") for line in piece if line.endswith(b"\n"))


def _beginning(piece: Any, size: int, since: float) -> int:
    """A position before the first line that was read since then: found by halving, for the lines came in order."""
    low, high = 0, size
    while since and high - low > 2**20:
        middle = (low + high) // 2
        piece.seek(middle)
        piece.readline()
        came = _READ.search(piece.readline())
        at = logrecord.seconds(came[1].decode(errors="replace")) if came else None
        low, high = (middle, high) if at is not None and at < since - ORDER_S else (low, middle)
    if not low:
        return 0
    piece.seek(low)
    piece.readline()
    return int(piece.tell())


def news(folder: Folder, cursor: Cursor, most: int = 2**22) -> tuple[list[bytes], Cursor]:
    """Whole lines that were stored after a place, at most so many bytes of them, and the place after these."""
    for name in (NAME, f"{NAME}.1"):
        status = folder.status(name)
        if status is not None and status.st_ino == cursor.inode:
            with os.fdopen(folder.open(name, READ), "rb") as piece:
                piece.seek(cursor.position)
                content = piece.read(most)
            lines = content[: content.rfind(b"\n") + 1]
            if lines or name == NAME:
                return lines.splitlines(), Cursor(cursor.inode, cursor.position + len(lines))
    newest = folder.status(NAME)
    return [], Cursor(newest.st_ino, 0) if newest else cursor
