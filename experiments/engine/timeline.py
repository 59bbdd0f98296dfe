"""The timeline of a run, read back: rows for a table, spans for a plot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.plots import Plot, Series

TimelineMark = Mapping[str, Any]

# the marks that a fault lasts between
INJECTED, HEALED = "fault", "healed"
MOST_ROWS = 200
WIDEST_LABEL = 40


def rows(timeline: Sequence[TimelineMark]) -> list[tuple[float, str, str]]:
    """(seconds since the first mark, what, its details) of each mark, in order."""
    start = _start(timeline)
    return [(float(mark["time"]) - start, str(mark["what"]), _details(mark)) for mark in timeline]


def strip(timeline: Sequence[TimelineMark], seconds: Sequence[TimelineMark] = ()) -> list[Plot]:
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
