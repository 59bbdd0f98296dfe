"""One execution of an experiment: where its files go, what decides its choices, and its timeline, written and read."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from experiments.engine.plots import Plot, Series
from topo.errors import UsageError, among
from topo.folders import Folder

Value = int | float | str
TimelineMark = Mapping[str, Any]
# the marks that a fault lasts between
INJECTED, HEALED = "fault", "healed"
MOST_ROWS = 200
WIDEST_LABEL = 40


@dataclass(frozen=True)
class Option:
    """``--name``, then in ``run.options["name"]``: of the default's type, ``least`` to ``most`` or one of ``values``.

    A name has no dashes: it is a key too.
    """

    name: str
    default: Value
    why: str
    least: float = 0
    most: float = float("inf")
    values: tuple[str, ...] = ()

    def read(self, text: str) -> Value:
        """The typed text as a value. Raises UsageError, saying what would do."""
        if isinstance(self.default, str):
            if self.values and text not in self.values:
                raise UsageError(f"--{self.name} {text}: unknown; possible values: {among(text, self.values)}")
            return text
        kind = type(self.default)
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not self.least <= value <= self.most:
            raise UsageError(f"--{self.name} {text}: must be {self._wanted()}")
        return value

    def _wanted(self) -> str:
        """In words: ``a whole number from 1 to 5000``."""
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        return (
            f"{kind}, {self.least:g} or more"
            if self.most == float("inf")
            else f"{kind} from {self.least:g} to {self.most:g}"
        )


class Progress(Protocol):
    """Told how far a measurement has come: ``advance(1)`` after each of a phase's ``total`` parts."""

    def begin(self, phase: str, total: float | None) -> None: ...

    def advance(self, parts: float) -> None: ...

    def end(self) -> None: ...


class Silent:
    """Shows nothing."""

    def begin(self, phase: str, total: float | None) -> None: ...

    def advance(self, parts: float) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True)
class Asked:
    """The choices of a command line for its runs; ``options``: flags of experiments' own, as they were typed."""

    seed: int | None = None
    repeat: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def values(self, options: Iterable[Option]) -> dict[str, Value]:
        """The values of an experiment's own flags. Raises UsageError for what was given and cannot be meant."""
        return {
            option.name: option.read(self.options[option.name]) if option.name in self.options else option.default
            for option in options
        }


PLAIN = Asked()


@dataclass
class Run:
    """An experiment's own context, beside the testbed.

    ``random`` decides every random choice, so that ``seed`` repeats a run. ``repeat``: how many rounds to measure;
    None for the short form. ``options``: values of the experiment's own flags. ``timeline`` holds {"time" (s since
    1970), "what", ...}. ``told`` hears of each phase.
    """

    folder: Folder
    seed: int
    repeat: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Silent)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    told: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def mark(self, what: str, **details: Any) -> None:
        """Note on the timeline that something happens now."""
        self.timeline.append({"time": time.time(), "what": what, **details})

    def keep(self, name: str, value: Any) -> None:
        """Evidence that shall be saved even if the measurement is interrupted from here on."""
        self.kept[name] = value

    @contextmanager
    def phase(self, name: str, total: float | None = None) -> Iterator[Progress]:
        """A part of the measurement, shown with a bar when ``total`` (parts or seconds) is known."""
        self.mark("phase", name=name)
        self.told(name)
        self.progress.begin(name, total)
        try:
            yield self.progress
        finally:
            self.progress.end()


def timeline_rows(timeline: Sequence[TimelineMark]) -> list[tuple[float, str, str]]:
    """(seconds since the first mark, what, its details) of each mark, in order."""
    start = _start(timeline)
    return [(float(mark["time"]) - start, str(mark["what"]), _details(mark)) for mark in timeline]


def timeline_strip(timeline: Sequence[TimelineMark], seconds: Sequence[TimelineMark] = ()) -> list[Plot]:
    """Phases and faults as spans, one row for each name; no plot when there are none.

    The last phase ends with the last of the ``seconds`` that were noted of the machine: no mark says when it does.
    """
    end = max((float(mark["time"]) for mark in (*timeline, *seconds)), default=0.0) if timeline else 0.0
    spans: dict[str, list[tuple[float, float]]] = {}
    for label, begin, until in [*_phases(timeline, end), *_faults(timeline, end)]:
        spans.setdefault(label, []).append((begin, until))
    start = _start(timeline)
    series = [
        Series(label, [begin - start for begin, _ in ends], [until - start for _, until in ends])
        for label, ends in spans.items()
    ]
    return [Plot("What happened when", "time since the first mark (s)", "", series, "spans")] if end > start else []


def _phases(timeline: Sequence[TimelineMark], end: float) -> list[tuple[str, float, float]]:
    """Each lasts until the next begins."""
    begins = [
        (_short(f"phase {mark.get('name', '')}"), float(mark["time"])) for mark in timeline if mark["what"] == "phase"
    ]
    ends = [*(time for _, time in begins[1:]), end]
    return [(label, begin, max(begin, until)) for (label, begin), until in zip(begins, ends, strict=False)]


def _faults(timeline: Sequence[TimelineMark], end: float) -> list[tuple[str, float, float]]:
    """Each lasts until it is healed, which a run that was interrupted may not have seen."""
    healed, open_since = [], dict[str, float]()
    for mark in timeline:
        fault = str(mark.get("fault", ""))
        if mark["what"] == INJECTED:
            open_since.setdefault(fault, float(mark["time"]))
        elif mark["what"] == HEALED and fault in open_since:
            healed.append((_short(f"fault {fault}"), open_since.pop(fault), float(mark["time"])))
    return healed + [(_short(f"fault {fault}"), begin, max(begin, end)) for fault, begin in open_since.items()]


def _start(timeline: Sequence[TimelineMark]) -> float:
    return float(timeline[0]["time"]) if timeline else 0.0


def _details(mark: TimelineMark) -> str:
    return ", ".join(f"{name} {value}" for name, value in mark.items() if name not in ("time", "what"))


def _short(label: str) -> str:
    return label if len(label) <= WIDEST_LABEL else f"{label[: WIDEST_LABEL - 1]}…"
