"""A run of ``web_failover`` as it is shown: a table on the terminal, a part of report.html, and its plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from experiments.engine.numbers import quantile
from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.verdict import Verdict
from experiments.instruments.load import Outcome, rows
from experiments.web_failover.checks import TARGETS, account, added, by_scenario, by_symptom, judge
from experiments.web_failover.evidence import WebFailoverEvidence
from experiments.web_failover.windows import SHOWN, Window, ended
from testbed.faults.scenarios import WEB

COLUMNS = (
    "fault", "n", "failed", "seen ms: median", "max", "added ms: median", "p99", "max", "rejoin ms", "share before",
    "during", "after",
)  # fmt: skip
MOST = 40
MOST_SECONDS = 7 * 86_400


def show(evidence: WebFailoverEvidence, verdict: Verdict) -> str:
    """The table, when the run came to its end."""
    return "nothing was measured to its end" if evidence.requests is None else table(evidence, verdict.numbers)


def table(evidence: WebFailoverEvidence, numbers: Mapping[str, Any]) -> str:
    """A row for each kind of fault, and the sums, as text."""
    cells = [COLUMNS, *rows_by_scenario(_windows(evidence))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([*lines, *story(numbers)])


def _windows(evidence: WebFailoverEvidence) -> list[Window]:
    return account(evidence, rows(evidence.requests)) if evidence.requests else []


def rows_by_scenario(windows: Sequence[Window]) -> list[tuple[str, ...]]:
    """The values of `COLUMNS`, for every kind of fault that was injected."""
    return [_row(kind, group) for kind, group in by_scenario(windows).items()]


def _row(kind: str, group: Sequence[Window]) -> tuple[str, ...]:
    seen, added, rejoin = (
        sorted(value for window in group if (value := getattr(window, name)) is not None)
        for name in ("detected_ms", "added_ms", "rejoin_ms")
    )
    return (
        kind,
        str(len(group)),
        str(sum(window.failed for window in group)),
        *_ms(seen, 0.5, 1),
        *_ms(added, 0.5, 0.99, 1),
        *_ms(rejoin, 0.5),
        *(_share([window.shares[when] for window in group]) for when in SHOWN),
    )


def _ms(ordered: Sequence[float], *shares: float) -> tuple[str, ...]:
    return tuple(f"{quantile(ordered, share):.0f}" if ordered else "-" for share in shares)


def _share(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.0%}" if known else "-"


def story(numbers: Mapping[str, Any]) -> list[str]:
    """The sums, in words."""
    capacity = numbers["capacity"]
    rates = ", ".join(f"{rate:g} ({name})" for name, rate in numbers["rates_per_s"].items())
    posts, twice, lost = (f"{numbers[name]:,}" for name in ("posts", "executed_twice", "lost_acknowledged"))
    return [
        f"{numbers['requests']:,} requests, {numbers['failed']:,} failed",
        f"{posts} posts, {twice} executed twice, {lost} acknowledged and lost",
        f"capacity {capacity['whole_per_s']:g}/s, {capacity['away_per_s']:g}/s while a server is away; asked: {rates}",
    ]


def page(evidence: WebFailoverEvidence) -> str:
    """Kinds, and the faults worth a row of their own."""
    from experiments.engine.report import TEMPLATES

    numbers = judge(evidence).numbers
    windows = _windows(evidence) if numbers else []
    return TEMPLATES.get_template("failover.html.j2").render(
        evidence=evidence,
        columns=COLUMNS,
        kinds=rows_by_scenario(windows),
        lines=story(numbers) if numbers else [],
        what={scenario.name: scenario.what for scenario in WEB},
        shown=_telling(windows),
        began=windows[0].began if windows else 0.0,
        faults=len(windows),
    )


def _telling(windows: Sequence[Window]) -> list[Window]:
    """The faults with most failed requests first, then those that added most latency."""
    return sorted(windows, key=lambda window: (window.failed, window.added_ms or 0.0), reverse=True)[:MOST]


# --- plots ---------------------------------------------------------------------------------------------------------

#: more marks than this are a grey wall, more points a blot
MOST_MARKS, MOST_POINTS = 30, 20_000


def plots(evidence: WebFailoverEvidence) -> Sequence[Plot]:
    """Latency over time, what the faults added, and which server answered."""
    requests = rows(evidence.requests) if evidence.requests else []
    if evidence.requests is None or not requests:
        return ()
    windows = account(evidence, requests)
    return (_latency(requests, windows), _added(windows), _answers(requests, windows, evidence.requests["servers"]))


def _latency(requests: Sequence[Outcome], windows: Sequence[Window]) -> Plot:
    start = requests[0].time
    every = len(requests) // MOST_POINTS + 1
    shown = {
        "answered": [request for request in requests[::every] if request.ok],
        "failed": [request for request in requests if not request.ok],
    }
    return Plot(
        title="Latency of each request, from the moment it was due",
        x_label="time (s)",
        y_label="latency (ms)",
        kind="scatter",
        log="y",
        series=[
            Series(
                name,
                [request.time - start for request in some],
                [max(request.latency_s * 1000, 0.1) for request in some],
            )
            for name, some in shown.items()
            if some
        ],
        marks=_marks(windows, start),
        note="" if every == 1 else f"every {every}th request that was answered",
    )


def _marks(windows: Sequence[Window], start: float) -> list[Mark]:
    return (
        [Mark(window.began - start, f"{window.scenario} {window.server}") for window in windows]
        if len(windows) <= MOST_MARKS
        else []
    )


def _added(windows: Sequence[Window]) -> Plot:
    return Plot(
        title="What a fault added to the slowest request that met it",
        x_label="added latency (ms)",
        y_label="share of faults",
        kind="ecdf",
        series=[Series(symptom, added(group)) for symptom, group in by_symptom(windows).items() if added(group)],
        marks=[Mark(most, f"target: {symptom}") for symptom, most in TARGETS.items()],
    )


def _answers(requests: Sequence[Outcome], windows: Sequence[Window], servers: Sequence[str]) -> Plot:
    start = requests[0].time
    seconds = range(int(max(map(ended, requests)) - start) + 1)
    if seconds.stop > MOST_SECONDS:
        raise ValueError(f"the requests took {seconds.stop} s: no run is so long")
    counts = Counter((request.server, int(ended(request) - start)) for request in requests if request.ok)
    return Plot(
        title="Answers by each server",
        x_label="time (s)",
        y_label="answers per second (1/s)",
        kind="steps",
        series=[Series(name, list(seconds), [counts[name, second] for second in seconds]) for name in servers],
        marks=_marks(windows, start),
    )
