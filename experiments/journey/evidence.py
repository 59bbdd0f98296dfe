"""The journey's evidence: the visit as the browser saw it, every frame, and what the hosts wrote down of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from experiments.engine.evidence import Evidence, Raw
from topo.plan import DATABASE, PORTS


class TlsModes(TypedDict):
    """Does nginx speak TLS? Is it the visitor's own, passed on? Do both ends, and the databases, prove themselves?"""

    backend_tls: bool
    passthrough: bool
    mutual: bool


class FrameRow(TypedDict):
    """One captured frame without its payload. ``marks``: what of the visit could be read in it."""

    link: str
    file: str
    frame: int
    time: float
    src: str
    dst: str
    proto: str
    flags: str
    bytes: int
    says: Mapping[str, Any]
    marks: list[str]


class CaptureRow(TypedDict):
    """One capture: how many frames it has, and how many the kernel dropped (None: it did not see its canary)."""

    link: str
    file: str
    frames: int
    dropped: int | None


class LogRow(TypedDict):
    """One line of a service's log about a request."""

    file: str
    line: int
    host: str
    service: str
    data: Mapping[str, Any]


class StatementRow(TypedDict):
    """One SQL statement, as a database wrote it down."""

    file: str
    line: int
    host: str
    time: float
    sql: str


class ShownPage(TypedDict):
    """The page that the visit ended with."""

    title: str
    has_message: bool
    has_name: bool


class VisitRecord(TypedDict):
    """The record of the visit (``instruments.visit``)."""

    requests: Sequence[Mapping[str, Any]]
    shown: ShownPage


class RuleCounters(TypedDict):
    """Packets by switch and rule, before the visit and after it."""

    before: Mapping[str, Mapping[str, int]]
    after: Mapping[str, Mapping[str, int]]


def _with_named_modes(raw: Raw) -> Raw:
    """Schema 0 called the TLS modes ``inside``, ``through`` and ``both``."""
    tls = raw["tls"]
    modes = {"backend_tls": tls["inside"], "passthrough": tls["through"], "mutual": tls["both"]}
    return {**raw, "schema": 1, "tls": modes}


@dataclass(frozen=True, kw_only=True)
class JourneyEvidence(Evidence):
    """``client``, ``resolver``, ``balancer``, ``primary``: the hosts with these parts, by name; older runs do not say.

    ``hosts``: addresses by name; ``firewalls``: switches by the server that they guard; ``positions``: GTIDs.
    """

    upgrades = {0: _with_named_modes}  # noqa: RUF012 - a class variable, as in Evidence

    site: str
    balance: str
    tls: TlsModes
    client: str = "client"
    resolver: str = "dns"
    balancer: str = "lb"
    primary: str
    group_port: int | None = None
    hosts: Mapping[str, str]
    firewalls: Mapping[str, str]
    app_port: int
    database_port: int = PORTS[DATABASE]
    visit: VisitRecord
    message: str
    positions: Mapping[str, str]
    captures: Sequence[CaptureRow]
    frames: Sequence[FrameRow]
    logs: Sequence[LogRow]
    sql: Sequence[StatementRow]
    counters: RuleCounters
