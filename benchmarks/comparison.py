"""A benchmark: series of ours and of a reference, taken in turns. What they mean follows from them alone."""

from __future__ import annotations

import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks import ratio
from testbed.body import Body

Tell = Callable[[str], None]
COMPARE = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Target:
    """A bound on ``ours`` (in the measure's unit) or on the ``ratio``."""

    of: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"

    def met(self, ours: float, ratio: float | None) -> bool:
        """A ratio that does not exist meets nothing."""
        value = ours if self.of == "ours" else ratio
        return value is not None and bool(COMPARE[self.sign](value, self.bound))


@dataclass(frozen=True)
class PairedSeries:
    """One measure, taken: the n-th values of ``ours`` and ``reference`` are from the n-th pair."""

    measure: str
    unit: str
    ours: tuple[float, ...]
    reference: tuple[float, ...]
    reference_name: str
    target: Target

    def judged(self, benchmark: str) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        ours, value = median(self.ours), ratio.ratio(self.ours, self.reference)
        bounds = ratio.interval(self.ours, self.reference) or (None, None)
        return {
            "benchmark": benchmark,
            "measure": self.measure,
            "unit": self.unit,
            "ours": ours,
            "reference": median(self.reference),
            "reference_name": self.reference_name,
            "ratio": value,
            "interval": list(bounds),
            "target": str(self.target),
            "met": self.target.met(ours, value),
        }


@dataclass(frozen=True)
class Size:
    """The size of a measurement: pairs, and seconds for each single value of a rate."""

    pairs: int = 7
    seconds: float = 2.0


@dataclass(frozen=True)
class Report:
    """A benchmark's results. ``waterfall``: seconds by phase, by what was booted, where there was a boot to show."""

    series: tuple[PairedSeries, ...]
    notes: tuple[str, ...] = ()
    waterfall: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Benchmark(ABC):
    """A comparison. ``measure`` runs outside any box; ``body`` is what it does inside of one."""

    #: what it is called on the command line
    name: str
    #: programs it needs beyond the testbed's own, with their packages
    programs: Mapping[str, str] = {}

    @abstractmethod
    def measure(self, size: Size, tell: Tell) -> Report: ...

    def body(self, size: Size) -> Body:  # noqa: ARG002 - only those that need a testbed have one
        raise LookupError(f"{self.name} does nothing in a box")


def columns(rows: list[Mapping[str, float]], name: str) -> tuple[float, ...]:
    """One variant's values, pair by pair."""
    return tuple(row[name] for row in rows)


def say(kind: str, content: Any) -> None:
    """One report to the process outside: ``progress`` (a text) or ``result`` (plain JSON data)."""
    print(json.dumps({"report": kind, "content": content}), flush=True)


def side_by_side(
    measures: Mapping[str, tuple[str, Target]],
    rows: Sequence[Mapping[str, Mapping[str, float]]],
    ours: str,
    reference: str,
    reference_name: str,
) -> Report:
    """Pure: each measure (with its unit and target) from rows of pairs, ``{variant: {measure: value}}``."""
    return Report(
        tuple(
            PairedSeries(
                measure,
                unit,
                tuple(row[ours][measure] for row in rows),
                tuple(row[reference][measure] for row in rows),
                reference_name,
                target,
            )
            for measure, (unit, target) in measures.items()
        )
    )
