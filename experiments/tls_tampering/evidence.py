"""The evidence of ``tls_tampering``: requests, the redirection, the impostor's events and the balancer's alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from experiments.engine.evidence import Evidence, unchanged


class RequestRow(TypedDict):
    """One request. ``changed``: the added line was on the page."""

    time: float
    ms: float
    status: int | None
    server: str | None
    request_id: str | None
    changed: bool
    error: str | None


class ImpostorEvent(TypedDict):
    """An action of the machine in the middle, and how often: listening, connection, changed, refused."""

    what: str
    why: str | None
    times: int


class AlarmLine(TypedDict):
    """A line of the balancer's log about the server that is no request's."""

    time: float
    line: str


#: from when to when (s since 1970), how many packets were moved, and whether the switch is as before
Redirection = TypedDict("Redirection", {"from": float, "to": float, "packets": int, "healed": bool})


@dataclass(frozen=True, kw_only=True)
class TamperingEvidence(Evidence):
    """``line`` is what the machine in the middle adds to each page; ``asked`` is in the order of time."""

    upgrades = {0: unchanged}  # noqa: RUF012 - a class variable, as in Evidence

    tls: str
    server: str
    servers: Sequence[str]
    line: str
    asked: Sequence[RequestRow]
    redirect: Redirection
    impostor: Sequence[ImpostorEvent]
    alarms: Sequence[AlarmLine]
