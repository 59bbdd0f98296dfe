"""``web_failover``'s pictures, as values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from experiments.engine.base import Evidence
from experiments.engine.plots import Mark, Plot, Series
from experiments.instruments.load import Outcome, rows
from experiments.web_failover.checks import TARGETS, account, added, by_manner
from experiments.web_failover.windows import Window, ended

#: more marks than this are a grey wall, more points a blot
MOST_MARKS, MOST_POINTS = 30, 20_000


def pictures(evidence: Evidence) -> Sequence[Plot]:
    """Latency over time, what the faults added, and who answered."""
    requests = rows(evidence["requests"])
    if not requests:
        return ()
    found = account(evidence, requests)
    return (_latency(requests, found), _added(found), _answers(requests, found, evidence["requests"]["servers"]))


def _latency(requests: Sequence[Outcome], found: Sequence[Window]) -> Plot:
    start = requests[0].time
    every = len(requests) // MOST_POINTS + 1
    shown = {
        "answered": [each for each in requests[::every] if each.ok],
        "failed": [each for each in requests if not each.ok],
    }
    return Plot(
        title="Latency of each request, from the moment it was due",
        x_label="time (s)",
        y_label="latency (ms)",
        kind="scatter",
        log="y",
        series=[
            Series(name, [each.time - start for each in some], [max(each.latency_s * 1000, 0.1) for each in some])
            for name, some in shown.items()
            if some
        ],
        marks=_marks(found, start),
        note="" if every == 1 else f"every {every}th request that was answered",
    )


def _marks(found: Sequence[Window], start: float) -> list[Mark]:
    return (
        [Mark(each.began - start, f"{each.kind} {each.server}") for each in found] if len(found) <= MOST_MARKS else []
    )


def _added(found: Sequence[Window]) -> Plot:
    return Plot(
        title="What a fault added to the slowest request that met it",
        x_label="added latency (ms)",
        y_label="share of faults",
        kind="ecdf",
        series=[Series(manner, added(group)) for manner, group in by_manner(found).items() if added(group)],
        marks=[Mark(most, f"target: {manner}") for manner, most in TARGETS.items()],
    )


def _answers(requests: Sequence[Outcome], found: Sequence[Window], servers: Sequence[str]) -> Plot:
    start = requests[0].time
    seconds = range(int(max(map(ended, requests)) - start) + 1)
    counts = Counter((each.server, int(ended(each) - start)) for each in requests if each.ok)
    return Plot(
        title="Answers by each server",
        x_label="time (s)",
        y_label="answers per second (1/s)",
        kind="steps",
        series=[Series(name, list(seconds), [counts[name, second] for second in seconds]) for name in servers],
        marks=_marks(found, start),
    )
