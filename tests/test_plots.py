"""Plots as values."""

from __future__ import annotations

import pytest

from experiments.engine.plots import Kind, Plot, Series


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("line", Series("a", [1, 2], [3, 4])),
        ("bars", Series("a", ["srv1", "srv2"], [3, 4])),
        ("spans", Series("a", [1.0], [2.0])),
        ("ecdf", Series("a", [1, 2, 3])),
        ("histogram", Series("a", [])),
    ],
)
def test_each_kind_takes_its_shape(kind: Kind, series: Series) -> None:
    assert Plot("title", "x (s)", "y (ms)", [series], kind).series == [series]


@pytest.mark.parametrize(
    ("kind", "series"),
    [("line", Series("a", [1, 2], [3])), ("ecdf", Series("a", [1], [2])), ("bars", Series("a", ["srv1"]))],
)
def test_a_series_of_another_shape_is_refused(kind: Kind, series: Series) -> None:
    with pytest.raises(ValueError, match="title: a:"):
        Plot("title", "x", "y", [series], kind)
