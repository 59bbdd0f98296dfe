"""The timeline of a run, read back: rows for a table, spans for a picture. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine.plots import Plot, Series

Moment = Mapping[str, Any]

# the marks that a fault lasts between
INJECTED, HEALED = "fault", "healed"
MOST_ROWS = 200
WIDEST_LABEL = 40


def rows(timeline: Sequence[Moment]) -> list[tuple[float, str, str]]:
    """(seconds since the first mark, what, its details) of each mark, in order."""
    start = _start(timeline)
    return [(float(each["time"]) - start, str(each["what"]), _details(each)) for each in timeline]


def strip(timeline: Sequence[Moment], seconds: Sequence[Moment] = ()) -> list[Plot]:
    """Phases and faults as spans, one row for each name; no plot when there are none.

    The last phase ends with the last of the ``seconds`` that were noted of the machine: no mark says when it does.
    """
    end = max((float(each["time"]) for each in (*timeline, *seconds)), default=0.0) if timeline else 0.0
    found: dict[str, list[tuple[float, float]]] = {}
    for label, begin, until in [*_phases(timeline, end), *_faults(timeline, end)]:
        found.setdefault(label, []).append((begin, until))
    start = _start(timeline)
    series = [
        Series(label, [begin - start for begin, _ in each], [until - start for _, until in each])
        for label, each in found.items()
    ]
    return [Plot("What happened when", "time since the first mark (s)", "", series, "spans")] if end > start else []


def _phases(timeline: Sequence[Moment], end: float) -> list[tuple[str, float, float]]:
    """Each lasts until the next begins."""
    begins = [
        (_short(f"phase {each.get('name', '')}"), float(each["time"])) for each in timeline if each["what"] == "phase"
    ]
    ends = [*(time for _, time in begins[1:]), end]
    return [(label, begin, max(begin, until)) for (label, begin), until in zip(begins, ends, strict=False)]


def _faults(timeline: Sequence[Moment], end: float) -> list[tuple[str, float, float]]:
    """Each lasts until it is healed, which a run that was interrupted may not have seen."""
    found, open_since = [], dict[str, float]()
    for each in timeline:
        fault = str(each.get("fault", ""))
        if each["what"] == INJECTED:
            open_since.setdefault(fault, float(each["time"]))
        elif each["what"] == HEALED and fault in open_since:
            found.append((_short(f"fault {fault}"), open_since.pop(fault), float(each["time"])))
    return found + [(_short(f"fault {fault}"), begin, max(begin, end)) for fault, begin in open_since.items()]


def _start(timeline: Sequence[Moment]) -> float:
    return float(timeline[0]["time"]) if timeline else 0.0


def _details(moment: Moment) -> str:
    return ", ".join(f"{name} {value}" for name, value in moment.items() if name not in ("time", "what"))


def _short(label: str) -> str:
    return label if len(label) <= WIDEST_LABEL else f"{label[: WIDEST_LABEL - 1]}…"
