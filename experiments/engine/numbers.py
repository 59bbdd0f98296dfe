"""A verdict's numbers: made flat, put into words; and many measured times as median, tails and interval. Pure.

A distribution is exact: no random numbers are drawn for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

NOTHING = "-"
CONFIDENCE = 0.95
DIGITS = 6


def flat(numbers: Mapping[str, Any], *, split: bool = True, within: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers one by one, as ``gap_ms.median``; distributions stay whole without ``split``."""
    for name, value in numbers.items():
        if isinstance(value, Mapping) and (split or not is_distribution(value)):
            yield from flat(value, split=split, within=f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def said(value: Any) -> str:
    """A number for people: four digits that mean something, no exponents, lists with commas."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return (
            f"{value:,.0f}"
            if abs(value) >= 1000
            else f"{value:.4g}"
            if abs(value) >= 0.001 or not value
            else f"{value:f}"
        )
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(said(item) for item in value) or "none"
    return str(value)


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """``{n, min, median, p95, p99, max, interval}`` in the values' own unit; ``{n: 0}`` of nothing.

    p95 and p99 are values that were measured (nearest rank). ``interval`` is the median's 95 % bootstrap interval, not
    drawn but computed: what infinitely many resamples would give, so the same values always give the same.
    """
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    low, high = (_resampled_median(ordered, tail) for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return {
        "n": len(ordered),
        "min": _short(ordered[0]),
        "median": _short(median(ordered)),
        "p95": _short(quantile(ordered, 0.95)),
        "p99": _short(quantile(ordered, 0.99)),
        "max": _short(ordered[-1]),
        "interval": [_short(low), _short(high)],
    }


def upper_bound(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """The share that the true one does not exceed, where ``count`` of ``of`` were seen (Clopper-Pearson, one-sided).

    3 / ``of``, nearly, where none was seen.
    """
    low, high = count / of if of else 1.0, 1.0
    while high - low > 1e-9:
        p = (low + high) / 2
        if count < of and 1 - _at_least(count + 1, of, p) > 1 - confidence:
            low = p
        else:
            high = p
    return high


def is_distribution(value: Any) -> bool:
    """Is a number of a verdict a result of ``distribution``?"""
    return isinstance(value, dict) and {"n", "median", "p95", "p99", "interval"} <= set(value)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that at least ``share`` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _resampled_median(ordered: Sequence[float], share: float) -> float:
    """The value that the medians of a ``share`` of all resamples do not exceed (Efron 1979).

    A resample's median is at most the k-th value exactly when at least half of its draws are among the first k, and
    each draw is with probability k/n.
    """
    n = len(ordered)
    least, most = 1, n
    while least < most:
        k = (least + most) // 2
        if _at_least((n + 1) // 2, n, k / n) >= share:
            most = k
        else:
            least = k + 1
    return ordered[least - 1]


def _at_least(wanted: int, n: int, p: float) -> float:
    """The probability of ``wanted`` or more successes in ``n`` trials; summed from the side with the small terms."""
    if p >= 1:
        return 1.0
    if wanted < n * p:
        return 1 - _at_least(n - wanted + 1, n, 1 - p)
    term = math.exp(
        math.lgamma(n + 1)
        - math.lgamma(wanted + 1)
        - math.lgamma(n - wanted + 1)
        + wanted * math.log(p)
        + (n - wanted) * math.log1p(-p)
    )
    total = 0.0
    for successes in range(wanted, n + 1):
        total += term
        if term < total * 1e-15:
            break
        term *= (n - successes) / (successes + 1) * p / (1 - p)
    return total


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
