"""Plots as values: what is to be seen, not how it is drawn (drawing.py does that). Pure, quick to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["line", "steps", "scatter", "histogram", "ecdf", "bars", "stacked", "spans"]
#: kinds that are drawn from samples alone
OF_SAMPLES = ("histogram", "ecdf")


@dataclass(frozen=True)
class Series:
    """Data with one colour and one line in the legend.

    ``x`` and ``y`` by kind of plot: line, steps, scatter: a point each; histogram, ecdf: ``x`` holds the samples and
    ``y`` nothing; bars, stacked (parts of a whole): ``x`` holds names; spans: from ``x`` to ``y``, one row for each.
    """

    label: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float] = ()
    #: set by ``laid_over``: which run it is of, and its place there, which is its colour
    run: int = 0
    place: int | None = None


@dataclass(frozen=True)
class Mark:
    """A mark on the x axis, a time or a limit: a fault, a heal, a target."""

    x: float
    label: str


@dataclass(frozen=True)
class Plot:
    """One plot. Labels of axes carry their units; ``log`` names the logarithmic axes: "", "x", "y", "xy".

    Plots of two runs with the same title are laid over each other by ``compare``. Raises ValueError when a series does
    not have the shape that its kind asks for.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    kind: Kind = "line"
    marks: Sequence[Mark] = ()
    note: str = ""
    log: str = ""

    def __post_init__(self) -> None:
        for series in self.series:
            if self.kind in OF_SAMPLES and series.y:
                raise ValueError(f"{self.title}: {series.label}: a plot of samples takes x alone")
            if self.kind not in OF_SAMPLES and len(series.x) != len(series.y):
                raise ValueError(f"{self.title}: {series.label}: {len(series.x)} x for {len(series.y)} y")


def laid_over(plots: Mapping[str, Plot]) -> Plot:
    """Plots of one title and kind in one: ``name -> plot``. Series, and marks that not all have, say whose."""
    first = next(iter(plots.values()))
    series = [
        replace(each, label=f"{name}: {each.label}", run=run, place=place)
        for run, (name, plot) in enumerate(plots.items())
        for place, each in enumerate(plot.series)
    ]
    common = [mark for mark in first.marks if all(mark in plot.marks for plot in plots.values())]
    own = [
        replace(mark, label=f"{name}: {mark.label}")
        for name, plot in plots.items()
        for mark in plot.marks
        if mark not in common
    ]
    return replace(first, series=series, marks=[*common, *own])
