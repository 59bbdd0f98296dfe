"""Metrics as values, and their text as monitoring clients read it.

Our own, because a host is asked for some every second: prometheus_client takes five times as long.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, TypeVar

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
#: upper bounds of a duration's buckets, in seconds
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

Labels = tuple[str, ...]
Key = TypeVar("Key", bound=Hashable)


class MetricSample(NamedTuple):
    """``suffix`` is a part of the name, such as ``_bucket``; ``labels``: the values, in the order of the names."""

    labels: Labels
    value: float
    suffix: str = ""


@dataclass(frozen=True)
class Metric:
    """All samples of one name. ``labels``: names of labels."""

    name: str
    kind: str
    labels: Labels = ()
    samples: list[MetricSample] = field(default_factory=list)

    def add(self, value: float, *labels: str) -> None:
        self.samples.append(MetricSample(labels, value))

    def text(self) -> str:
        lines = [f"# TYPE {self.name} {self.kind}\n"]
        for sample in self.samples:
            names = (*self.labels, "le") if sample.suffix == "_bucket" else self.labels
            lines.append(f"{self.name}{sample.suffix}{_pairs(names, sample.labels)} {sample.value!r}\n")
        return "".join(lines)


class Source(Protocol):
    """A part of a host that is measured each time it is asked. It raises when it cannot tell."""

    def metrics(self) -> Iterator[Metric]: ...


def value(name: str, number: float, kind: str = GAUGE) -> Metric:
    """A metric without labels."""
    return Metric(name, kind, (), [MetricSample((), number)])


def counters(name: str, labels: Labels, counts: Mapping[Labels, int]) -> Metric:
    """A counter for each key."""
    return Metric(name, COUNTER, labels, [MetricSample(key, number) for key, number in counts.items()])


def text(metrics: Iterable[Metric]) -> str:
    """Everything that a client is answered."""
    return "".join(metric.text() for metric in metrics)


class Durations:
    """Durations of things, in buckets."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[next((at for at, bound in enumerate(self.bounds) if seconds <= bound), -1)] += 1
        self.sum += seconds

    def samples(self, *labels: str) -> Iterator[MetricSample]:
        """As Prometheus' histograms: each bucket counts what the smaller ones do, too."""
        total = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            total += count
            yield MetricSample((*labels, str(bound)), total, "_bucket")
        yield MetricSample(labels, self.sum, "_sum")
        yield MetricSample(labels, total, "_count")


class Rising(Generic[Key]):
    """Sums that never fall, of parts that may go: what went away stays counted, and what comes later counts anew."""

    def __init__(self) -> None:
        self._last: dict[Key, float] = {}
        self._kept: dict[Key, float] = {}

    def __call__(self, key: Key, number: float) -> float:
        lost = self._last.get(key, number) - number
        if lost > 0:
            self._kept[key] = self._kept.get(key, 0.0) + lost
        self._last[key] = number
        return number + self._kept.get(key, 0.0)


@lru_cache(maxsize=8192)  # they are the same every second
def _pairs(names: Labels, labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_quoted(label)}"' for name, label in zip(names, labels, strict=True)) + "}"


def _quoted(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
