"""The evidence of ``monitoring``: what load, processes and log files say, and what the tool says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from experiments.engine.evidence import Evidence


class CountRow(TypedDict):
    """Requests of the clean phase, by the server that answered: as the load counted them, and as the metrics did."""

    host: str
    path: str
    status: str
    truth: int
    told: float


class SecondRow(TypedDict):
    """Between two samples of a server: the requests that the load saw answered, and those that were counted."""

    host: str
    time: float
    seconds: float
    truth: int
    told: float


class ProcessorRow(TypedDict):
    """Processor seconds of a host in a while, as the kernel accounts its processes, and as the metrics say."""

    host: str
    truth_s: float
    told_s: float


class AlertedFault(TypedDict):
    """A fault: ``alerts`` of which one was to fire at one of ``hosts`` within ``late_s``; what fired there first."""

    fault: str
    alerts: Sequence[str]
    hosts: Sequence[str]
    began: float
    late_s: float
    fired: float | None
    alert: str | None


class FiringRow(TypedDict):
    """A while in which an alert was firing."""

    alert: str
    host: str
    began: float
    ended: float


class StepRow(TypedDict):
    """The longest step between two samples of a host (s), and when it ended."""

    host: str
    longest_s: float
    time: float


class LineCounts(TypedDict):
    """Lines that a service wrote, those of them that were stored, and copies that were recognised as such."""

    service: str
    written: int
    stored: int
    copies: int


class AwayRow(TypedDict):
    """The monitoring host was away: how, for how long, and what is missing of that time.

    ``allowed``: lost lines; ``host``: where the longest step between samples was.
    """

    fault: str
    seconds: float
    lines: int
    lost: int
    allowed: int
    longest_step_s: float
    host: str


@dataclass(frozen=True, kw_only=True)
class MonitoringEvidence(Evidence):
    """``clean``: when the phase without a fault began and ended, of which ``firing`` alerts would be false alarms.

    ``rate``: requests a second. ``spoilt``: what of the monitoring was made to lie on purpose, to see it found out.
    """

    rate: float = 0.0
    spoilt: str = "nothing"
    clean: tuple[float, float] | None = None
    counts: Sequence[CountRow] = ()
    seconds: Sequence[SecondRow] = ()
    processor: Sequence[ProcessorRow] = ()
    steps: Sequence[StepRow] = ()
    faults: Sequence[AlertedFault] = ()
    firing: Sequence[FiringRow] = ()
    logs: Sequence[LineCounts] = ()
    away: Sequence[AwayRow] = ()
    scheduled: int = 0
    stopped: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
