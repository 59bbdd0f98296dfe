"""A log record: what one entry of any service's log says, in one form. Whatever bytes an entry has, it is a record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from topo.plan import APP, BALANCER, DATABASE, WEB

#: from harmless to grave; daemons' own words for them begin alike
LEVELS = ("debug", "info", "notice", "warning", "error", "critical")
_WORDS = {"debu": 0, "trac": 0, "info": 1, "noti": 2, "note": 2, "warn": 3, "erro": 4, "err": 4, "fata": 5, "crit": 5}
_WORDS |= {"aler": 5, "emer": 5, "pani": 5}
#: the order in which a request meets the services
TIERS = (BALANCER, WEB, APP, DATABASE)
UNTIMED = "info"

_TIME = re.compile(
    r"\[?(\d{4})[-/](\d\d)[-/](\d\d)[ T] ?(\d{1,2}):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\]?:? *"
)
_LEVEL = re.compile(
    r"(?:^|[\s\[])(debug|trace|info|notice|note|warn\w*|err\w*|crit\w*|alert|emerg\w*|fatal)[\]:\s]", re.I
)
_REQUEST = re.compile(r"\breq=([A-Za-z0-9-]{1,64})")
_AT = re.compile(r"/\* req=\S+ at=(\d+\.\d+) \*/ *")
_STATEMENT = re.compile(
    r"# User@Host: (?P<user>[^\[\s]*).*?# Query_time: (?P<seconds>\d+\.\d+)"
    r".*?SET timestamp=(?P<at>\d+)[.\d]*;\s*(?P<sql>.*)",
    re.S,
)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.S)
_TEXT_KEYS = ("msg", "message", "event", "request")
_OWN_KEYS = {"time", "ts", "level", "request_id", "id", *_TEXT_KEYS}


@dataclass(frozen=True)
class LogRecord:
    """``time``: Unix seconds, when the entry was written; ``took_ms``: what a request or statement had taken then.

    ``request``: its id, or "". ``file`` and ``offset``: where it stands on its host.
    """

    time: float
    host: str
    service: str
    level: str
    text: str
    request: str = ""
    took_ms: float | None = None
    file: str = ""
    offset: int = 0

    @property
    def began(self) -> float:
        """The time at which the request or statement had come."""
        return self.time - (self.took_ms or 0.0) / 1000

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def is_at_least(self, level: str) -> bool:
        return LEVELS.index(self.level) >= LEVELS.index(level)


def record(stored: Mapping[str, Any]) -> LogRecord:
    """A stored entry as a record: a JSON object with host, service, file, offset, read (when it was) and line."""
    line = str(stored.get("line", ""))
    blank = LogRecord(
        seconds(stored.get("read")) or 0.0,
        str(stored.get("host", "")),
        str(stored.get("service", "")),
        UNTIMED,
        line,
        file=str(stored.get("file", "")),
        offset=stored["offset"] if isinstance(stored.get("offset"), int) else 0,
    )
    row = _object(line)
    return _of_words(blank, line) if row is None else _of_object(blank, row)


def _object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _of_object(blank: LogRecord, row: Mapping[str, Any]) -> LogRecord:
    """HAProxy's, nginx's and the application's requests, the failover manager's events, and what Go programs log."""
    took = _took(row)
    request = row.get("request_id", row.get("id"))
    return replace(
        blank,
        time=seconds(row.get("time", row.get("ts"))) or blank.time,
        level=_level_of(row),
        text=_text(row, took),
        request=request if isinstance(request, str) and request != "-" else "",
        took_ms=took,
    )


def _took(row: Mapping[str, Any]) -> float | None:
    """The milliseconds of a request or connection; None of anything else."""
    took = row.get("ms")
    if isinstance(took, dict):
        return _number(took.get("all"))
    seconds = _number(row.get("seconds"))
    return None if seconds is None else round(seconds * 1000, 3)


def _level_of(row: Mapping[str, Any]) -> str:
    if isinstance(level := row.get("level"), str):
        return LEVELS[_WORDS.get(level.lower()[:4], 1)]
    status = _number(row.get("status"))
    if status is not None:
        return "error" if status >= 500 else "notice" if status >= 400 else "info"
    return "warning" if str(row.get("event", "")).endswith(("-failed", "-refused")) else "info"


def _text(row: Mapping[str, Any], took: float | None) -> str:
    head = next((str(row[key]) for key in _TEXT_KEYS if row.get(key)), "")
    if "status" in row:
        place = next((f" {word} {row[word]}" for word in ("server", "upstream") if row.get(word)), "")
        return f"{head} {row['status']} {'' if took is None else f'in {took:g} ms'}{place}".rstrip()
    rest = " ".join(f"{key}={_short(value)}" for key, value in row.items() if key not in _OWN_KEYS)
    return f"{head} {rest}".strip()


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _of_words(blank: LogRecord, line: str) -> LogRecord:
    """A line of words: with a time at its beginning and a level soon after, as most daemons write it, or without."""
    start = _TIME.match(line)
    rest = line[start.end() :] if start else line
    level = _LEVEL.search(rest[:60])
    request = _REQUEST.search(rest)
    return replace(
        blank,
        time=(seconds(start[0].strip("[]: ")) if start else None) or blank.time,
        level=LEVELS[_WORDS.get(level[1].lower()[:4], 1)] if level else UNTIMED,
        text=rest,
        request=request[1] if request else "",
    )


def statements(blank: LogRecord, log: bytes, request: str) -> Iterator[LogRecord]:
    """The statements of a request in MariaDB's slow log, which says in a comment for which each is, and when it came.

    Values are left out: there are password hashes among them.
    """
    mark, at = f"/* req={request} ".encode(), -1
    while (at := log.find(mark, at + 1)) >= 0:
        begin, end = log.rfind(b"# User@Host: ", 0, at), log.find(b"\n", at)
        entry = log[max(begin, 0) : end if end >= 0 else len(log)].decode(errors="backslashreplace")
        found = _STATEMENT.match(entry)
        if found:
            yield _of_statement(replace(blank, request=request, offset=begin), found)


def _of_statement(blank: LogRecord, found: re.Match[str]) -> LogRecord:
    seconds, sql = float(found["seconds"]), found["sql"].strip().removesuffix(";")
    at = _AT.match(sql)
    return replace(
        blank,
        time=(float(at[1]) if at else float(found["at"])) + seconds,
        text=f"{found['user']}: {_LITERAL.sub('?', _AT.sub('', sql, count=1))}",
        took_ms=round(seconds * 1000, 3),
    )


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None


#: a time in milliseconds has more than this, one in seconds less; and nothing was logged before the year 2000
_MILLISECONDS, _LATEST, _EARLIEST = 1e11, 1e11, 946684800.0


def seconds(value: object) -> float | None:
    """A Unix time, from seconds, from milliseconds, or from a date; one without a zone is local. None for no time."""
    number = _number(value)
    if number is not None:
        number = number / 1000 if number > _MILLISECONDS else number
        return number if _EARLIEST < number < _LATEST else None
    parts = _TIME.match(value) if isinstance(value, str) else None
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = parts.groups()
    text = f"{year}-{month}-{day}T{hour:0>2}:{minute}:{second}.{(fraction or '0')[:6]:0<6}"
    zone = "+00:00" if zone == "Z" else f"{zone[:3]}:{zone[-2:]}" if zone else ""
    try:
        return datetime.fromisoformat(text + zone).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
