"""A refusal by the web application firewall: what ModSecurity's audit log says of it, in a few fields.

The log writer on the monitoring host makes its lines of this, so it imports little.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LOG = "/var/log/nginx/waf.log"
#: characters of a value that are kept
LONGEST = 300
#: the rules that know a scanner by the name that it gives itself
SCANNERS = (1115, 1125)

_MARK = f'"file":"{LOG}"'.encode()
_DATA = re.compile(
    r"Matched Data: (?P<matched>.*?) found within (?P<target>[A-Z_]+(?::[^\s:]+)?)(?:: (?P<value>.*))?", re.S
)
_NAMELESS = "XSS data"  # libinjection, which does not say what it found: it is somewhere in the value
_TARGET = re.compile(r"against variable `(?P<target>[^']*)' \(Value: `(?P<matched>.*)' \)", re.S)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """``rule``: numbers of the rules that fitted; ``target``: the input, ``matched``: the bytes in it.

    ``code``: the status of the answer.
    """

    time: float
    id: str
    client: str
    method: str
    path: str
    code: int
    rule: tuple[int, ...]
    message: str
    target: str
    matched: str

    def line(self) -> str:
        return json.dumps({**asdict(self), "level": "warning", "event": "refused"}, ensure_ascii=False)


def of_audit(line: str | bytes) -> Refusal:
    """The refusal in a line of the audit log. Raises ValueError for a line that is none."""
    try:
        transaction = json.loads(_text(line))["transaction"]
        request, answer = transaction["request"], transaction["response"]
        details = [message["details"] | {"message": message["message"]} for message in transaction["messages"]]
        told = next((row for row in details if row["data"]), details[0])
        target, matched = _evidence(told)
        return Refusal(
            time=_seconds(transaction["time_stamp"]),
            id=str(transaction["unique_id"]),
            client=str(transaction["client_ip"]),
            method=str(request["method"]),
            path=str(request["uri"]).partition("?")[0][:LONGEST],
            code=int(answer.get("http_code", 0)),
            rule=tuple(dict.fromkeys(int(row["ruleId"]) for row in details)),
            message=str(told["message"]),
            target=target,
            matched=matched,
        )
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no line of an audit log: {error!r}") from error


def _text(line: str | bytes) -> str:
    """ModSecurity cuts values in the midst of a character."""
    return line if isinstance(line, str) else line.decode(errors="replace")


def _evidence(told: Mapping[str, Any]) -> tuple[str, str]:
    found = _DATA.search(told["data"]) or _TARGET.search(told["match"])
    if found is None:
        return "", ""
    matched = found["value"] if found["matched"] == _NAMELESS else found["matched"]
    return found["target"], matched[:LONGEST]


def _seconds(stamp: str) -> float:
    return time.mktime(time.strptime(stamp, "%a %b %d %H:%M:%S %Y"))


def as_stored(lines: bytes) -> bytes:
    """Lines on their way into the log store, as they are, but for refusals: of those the fields above."""
    return b"\n".join(map(_stored, lines.split(b"\n"))) if _MARK in lines else lines


def _stored(line: bytes) -> bytes:
    if _MARK not in line:
        return line
    try:
        row = json.loads(_text(line))
        told = of_audit(row["line"]).line()
    except (ValueError, KeyError, TypeError, RecursionError):
        return line
    text = json.dumps({**row, "line": told}, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")
