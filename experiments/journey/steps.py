"""One step of a journey, and what proves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from experiments.journey.evidenceindex import EvidenceIndex, Row

Look: TypeAlias = Callable[[EvidenceIndex], "StepObservation"]


@dataclass(frozen=True)
class ProofLocation:
    """A place to look: a frame of a capture, a line of a log, or a field of the evidence."""

    where: str
    number: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.where}#{self.number}" if self.number is not None else self.where


@dataclass(frozen=True)
class StepObservation:
    """The observation of a step. ``at``: seconds since the epoch; ``ms``: its duration.

    ``holds`` None: seen, but not enough of it to say. ``encrypted`` None: nothing went over a link.
    """

    src: str
    dst: str
    what: str
    proofs: tuple[ProofLocation, ...]
    at: float
    holds: bool | None = True
    ms: float | None = None
    encrypted: bool | None = None


@dataclass(frozen=True)
class JourneyStep:
    """One of the 13. ``seen`` None: it was not seen, and ``missing`` says what was looked for."""

    number: int
    title: str
    seen: StepObservation | None
    missing: str = ""

    @property
    def holds(self) -> bool | None:
        return self.seen.holds if self.seen else None

    @property
    def what(self) -> str:
        return self.seen.what if self.seen else self.missing


def frame_proof(row: Row) -> ProofLocation:
    """A frame of a capture."""
    bare = "TCP SYN" if row["flags"] == "S" else f"{row['bytes']} bytes of {row['proto'].upper()}"
    return ProofLocation(row["file"], row["frame"], row["says"].get("text") or bare)


def line_proof(row: Row, what: str) -> ProofLocation:
    """A line of a log."""
    return ProofLocation(row["file"], row["line"], what)


def visit_proof(request: Row, what: str) -> ProofLocation:
    """A request of the visit, which has no file but the evidence."""
    return ProofLocation("evidence.json", None, f"visit: {request['method']} {request['url']}: {what}")


def duration_ms(a: Row, b: Row) -> float:
    """From one frame to another."""
    return round((float(b["time"]) - float(a["time"])) * 1000, 3)


def readability(secret: bool | None) -> str:
    """In words: can the visit be read there?"""
    if secret is None:
        return "but packets were lost: it is unknown whether all of it"
    return "none readable" if secret else "readable!"
