"""The load's record beside what was told: sums, seconds, steps between samples. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from experiments.instruments import load
from experiments.monitoring.evidence import CountRow, SecondRow, StepRow
from services.monitoring import query

#: the paths that the load asks for, by method
PATHS = {"GET": "/", "POST": "/messages"}
#: samples of one while apart by more are two whiles
SPAN_S = 1.6


def counted(
    done: Iterable[load.Outcome],
    before: dict[tuple[str, str, str], float],
    after: dict[tuple[str, str, str], float],
) -> Iterator[CountRow]:
    """The requests that were answered by each server, and by how much its counters have grown."""
    truth = Counter((each.server or "-", PATHS[each.method], str(each.status)) for each in done)
    for host, path, status in sorted({*truth, *after}):
        key = (host, path, status)
        told = after.get(key, 0.0) - before.get(key, 0.0)
        if truth[key] or told:
            yield {"host": host, "path": path, "status": status, "truth": truth[key], "told": told}


def seconds_of(
    done: Iterable[load.Outcome], found: Iterable[tuple[query.Labels, query.Samples]]
) -> Iterator[SecondRow]:
    """Each step from one sample of a server to the next: what was answered in it, and what was counted."""
    sums: dict[str, Counter[float]] = {}
    for labels, samples in found:
        for at, value in samples:
            sums.setdefault(labels["host"], Counter())[at] += value  # type: ignore[assignment]
    answered = [(each.server, each.time + each.latency_s) for each in done]
    for host, told in sorted(sums.items()):
        mine = [at for server, at in answered if server == host]
        moments = sorted(told)
        for first, last in pairwise(moments):
            yield {
                "host": host,
                "time": last,
                "seconds": round(last - first, 3),
                "truth": sum(first < at <= last for at in mine),
                "told": told[last] - told[first],
            }


def longest_step(host: str, moments: Sequence[float], began: float, ended: float) -> StepRow:
    """The longest time without a sample, between ``began`` and ``ended``."""
    edges = [began, *moments, ended]
    longest, at = max((last - first, last) for first, last in pairwise(edges))
    return {"host": host, "longest_s": round(longest, 3), "time": at}


def whiles(moments: Sequence[float]) -> list[tuple[float, float]]:
    """The first and the last of moments that lie no further apart than ``SPAN_S``."""
    spans: list[tuple[float, float]] = []
    for at in moments:
        if spans and at - spans[-1][1] <= SPAN_S:
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((at, at))
    return spans
