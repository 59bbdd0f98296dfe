"""Medians, tails and intervals against what is known of them."""

from __future__ import annotations

import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.engine.numbers import CONFIDENCE, distribution, is_distribution


def test_what_is_known_of_one_to_a_hundred() -> None:
    found = distribution([float(value) for value in range(100, 0, -1)])
    assert {name: found[name] for name in ("n", "min", "median", "p95", "p99", "max")} == {
        "n": 100, "min": 1.0, "median": 50.5, "p95": 95.0, "p99": 99.0, "max": 100.0,
    }  # fmt: skip
    assert is_distribution(found)


def test_nothing_has_no_median() -> None:
    assert distribution([]) == {"n": 0}
    assert not is_distribution({"n": 0})
    assert not is_distribution(3)


@pytest.mark.parametrize(("n", "seed"), [(5, 1), (8, 2), (31, 3), (200, 4)])
def test_the_interval_is_what_drawing_would_give(n: int, seed: int) -> None:
    """Against resamples that are really drawn: the same values, or their neighbours by chance."""
    chance = random.Random(seed)
    values = sorted(chance.random() for _ in range(n))
    draws = 4000
    drawn = sorted(sorted(chance.choices(values, k=n))[(n + 1) // 2 - 1] for _ in range(draws))
    tail = round(draws * (1 - CONFIDENCE) / 2)
    ranks = {float(f"{value:.6g}"): rank for rank, value in enumerate(values)}
    for exact, sampled in zip(distribution(values)["interval"], (drawn[tail], drawn[-1 - tail]), strict=True):
        assert abs(ranks[exact] - ranks[float(f"{sampled:.6g}")]) <= 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_the_interval_holds_the_median(values: list[float]) -> None:
    found = distribution(values)
    low, high = found["interval"]
    assert found["min"] <= low <= found["median"] <= high <= found["max"]
    assert found["median"] == pytest.approx(median(values), rel=1e-5)
    assert found["median"] <= found["p95"] <= found["p99"] <= found["max"] or len(values) < 3


def test_a_hundred_thousand_are_no_burden() -> None:
    chance = random.Random(1)
    found = distribution([chance.expovariate(1) for _ in range(100_000)])
    low, high = found["interval"]
    assert 0.68 < low < 0.6931 < high < 0.71
