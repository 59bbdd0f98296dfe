"""The actions between which the failover manager decides, as values."""

from __future__ import annotations

from dataclasses import dataclass

from services.mariadb.guarantees import Violation


@dataclass(frozen=True)
class NoAction:
    """Nothing to do, or (``blocked``) nothing that may be done yet. ``settled``: all others follow the primary."""

    why: str
    settled: bool = False
    blocked: bool = False


@dataclass(frozen=True)
class Promote:
    """``candidate`` becomes the primary in the place of ``old`` ("" at boot)."""

    candidate: str
    old: str
    why: str
    positions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Route:
    """The balancer sends writes to ``primary`` and to no other server."""

    primary: str
    why: str


@dataclass(frozen=True)
class Demote:
    """A second server takes writes: close it."""

    server: str
    primary: str
    why: str


@dataclass(frozen=True)
class Rejoin:
    """``server`` follows ``primary`` from now on, and is no longer fenced."""

    server: str
    primary: str
    why: str


@dataclass(frozen=True)
class Correct:
    """Settings of ``server`` are put back to what the promise rests on."""

    server: str
    violations: tuple[Violation, ...]
    why: str


@dataclass(frozen=True)
class Reconnect:
    """``server`` connects to ``primary`` anew, under another number: its old connection there does not end."""

    server: str
    primary: str
    why: str


@dataclass(frozen=True)
class HandOver:
    """``candidate`` takes over from ``primary``, which answers, and whose writes do not end."""

    candidate: str
    primary: str
    why: str


@dataclass(frozen=True)
class Restart:
    """``server`` is switched off and on; it is decided anew who is the primary."""

    server: str
    why: str


Action = NoAction | Promote | Route | Demote | Rejoin | Correct | Reconnect | HandOver | Restart
STALE = NoAction("the last change has not been observed yet")
