"""The evidence of ``web_failover``: every request, every fault, and what balancer and database say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from experiments.engine.evidence import Evidence, Raw


class FaultRow(TypedDict):
    """One fault: how it reads on the command line, its scenario, how it shows, and under which load it came."""

    fault: str
    scenario: str
    symptom: str
    server: str
    load: str


class ChangeRow(TypedDict):
    """The balancer gave a server up, or sends requests to it again."""

    time: float
    server: str
    up: bool


class Capacity(TypedDict):
    """Good answers per second, with all servers and while one is away."""

    whole_per_s: float
    away_per_s: float
    clients: int
    away_s: float


class Looks(TypedDict):
    """The times at which the balancer was looked at, and the longest gap between two looks."""

    times: int
    longest_gap_s: float


class StoredRows(TypedDict):
    """Rows of the database, in columns: the request's number and the message's."""

    number: list[int]
    message: list[int]


def _renamed(raw: Raw) -> Raw:
    """Schema 0 had other words for the same things."""
    faults = [{**row, "scenario": row["kind"], "symptom": row["manner"]} for row in raw.get("faults", ())]
    return {**raw, "schema": 1, "faults": faults, "scheduled": raw.get("wanted", 0)}


@dataclass(frozen=True, kw_only=True)
class WebFailoverEvidence(Evidence):
    """``first_numbers``: each load's requests are numbered without gaps from there on.

    ``requests`` in columns (instruments/load.py). ``stopped``: why the schedule was not gone on with.
    """

    upgrades = {0: _renamed}  # noqa: RUF012 - a class variable, as in Evidence

    primary: str = ""
    scheduled: int = 0
    patience_s: float = 0.0
    capacity: Capacity | None = None
    rates_per_s: Mapping[str, float] = field(default_factory=dict)
    first_numbers: Sequence[int] = ()
    faults: Sequence[FaultRow] = ()
    stopped: str | None = None
    changes: Sequence[ChangeRow] = ()
    looks: Looks | None = None
    stored: StoredRows | None = None
    requests: Mapping[str, Any] | None = None
