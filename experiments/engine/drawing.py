"""Plots drawn as PNG, with matplotlib: the only file that imports it, and only when something is drawn."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from experiments.engine.plots import Plot, Series
from services.mariadb.datadir import cache
from topo.errors import UsageError
from topo.folders import opened
from topo.plaintext import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which nearly all readers can tell apart; the lines differ as well
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
LINES = ("-", "--", "-.", ":")
POINTS = ("o", "^", "s", "D", "v", "P", "X", "*")
INK, FAINT, GRID = "#1c2430", "#667085", "#e3e7ee"
INCHES, DPI = (9.0, 4.4), 120
ROW_INCHES = 0.38
BINS = 50
MANY_POINTS = 500
SMALL_POINTS_IN_LEGEND = 2
LEGEND_LETTERS = 100  # what a line of the legend has room for
AXIS_LETTERS = 80  # what an axis has room for below its ticks

STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.xmargin": 0.02,
    "grid.color": GRID,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12,
}


def png(plot: Plot) -> bytes:
    """The figure, on a light ground, with the legend outside of the data. Its texts are words, never formulas."""
    plot = _plain(plot)
    # matplotlib's list of fonts goes where the testbed keeps things made once, not into a folder of its own
    with suppress(UsageError), opened(cache(), make=True, private=True) as place:
        os.environ.setdefault("MPLCONFIGDIR", str(place.path / "matplotlib"))
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=_inches(plot), dpi=DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        DRAWN[plot.kind](axes, plot)
        _mark(axes, plot)
        _describe(figure, axes, plot)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _plain(plot: Plot) -> Plot:
    """The plot without what no font has: names and labels may be a stranger's."""
    series = [
        replace(line, label=plain(line.label), x=[plain(x) if isinstance(x, str) else x for x in line.x])  # type: ignore[arg-type]
        for line in plot.series
    ]
    marks = [replace(mark, label=plain(mark.label)) for mark in plot.marks]
    return replace(plot, title=plain(plot.title), note=plain(plot.note), series=series, marks=marks)


def _inches(plot: Plot) -> tuple[float, float]:
    """Wide; rows of spans need height."""
    return (INCHES[0], max(2.0, 1.4 + ROW_INCHES * len(plot.series))) if plot.kind == "spans" else INCHES


def _describe(figure: Figure, axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.title, pad=28 if plot.note else None)
    axes.annotate(plot.note, (0, 1), (0, 8), "axes fraction", "offset points", fontsize=9.5, color=FAINT)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    if "x" in plot.log:
        axes.set_xscale("log")
        _number(axes.xaxis)
    if "y" in plot.log:
        axes.set_yscale("log")
        _number(axes.yaxis)
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1 or (labels and plot.marks):
        size = SMALL_POINTS_IN_LEGEND if plot.kind == "scatter" else 1
        columns = max(1, LEGEND_LETTERS // (6 + max(len(label) for label in labels)))
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=10, markerscale=size)


def _number(axis: Axis) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _mark(axes: Axes, plot: Plot) -> None:
    """A vertical line at each mark; marks with one label are one entry of the legend."""
    for number, label in enumerate(dict.fromkeys(mark.label for mark in plot.marks)):
        named = label
        for mark in plot.marks:
            if mark.label == label:
                axes.axvline(mark.x, color=FAINT, linestyle=LINES[(number + 1) % 4], linewidth=1.3, label=named)
                named = "_"  # matplotlib's word for no entry


def _place(number: int, series: Series) -> int:
    """The place of a series in its own plot: the same one of two runs has the same colour."""
    return number if series.place is None else series.place


def _colour(number: int, series: Series) -> str:
    return COLOURS[_place(number, series) % len(COLOURS)]


def _look(number: int, series: Series) -> dict[str, Any]:
    turn = _place(number, series) // len(COLOURS) + series.run
    return {"color": _colour(number, series), "linestyle": LINES[turn % len(LINES)]}


def _fill(number: int, series: Series) -> dict[str, Any]:
    """An area: full for the first run, hatched for the second; dotted when all colours are taken."""
    colour = _colour(number, series)
    hatch = ("////" if series.run else "") + ("...." if _place(number, series) >= len(COLOURS) else "")
    return {"facecolor": "white", "edgecolor": colour, "hatch": hatch} if hatch else {"color": colour}


def _line(axes: Axes, plot: Plot) -> None:
    for number, series in enumerate(plot.series):
        axes.plot(series.x, series.y, label=series.label, **_look(number, series))


def _steps(axes: Axes, plot: Plot) -> None:
    for number, series in enumerate(plot.series):
        axes.step(series.x, series.y, where="post", label=series.label, **_look(number, series))


def _scatter(axes: Axes, plot: Plot) -> None:
    size = 22 if sum(len(series.x) for series in plot.series) < MANY_POINTS else 7
    for number, series in enumerate(plot.series):
        axes.scatter(
            series.x,
            series.y,
            s=size,
            alpha=0.7,
            linewidths=0,
            color=_colour(number, series),
            marker=POINTS[(_place(number, series) + series.run) % len(POINTS)],
            label=series.label,
        )


def _histogram(axes: Axes, plot: Plot) -> None:
    samples = [float(value) for series in plot.series for value in series.x]
    if not samples:
        return
    low, high = min(samples), max(samples)
    edges = _edges(low, high, logarithmic="x" in plot.log and low > 0)
    for number, series in enumerate(plot.series):
        look = _fill(number, series)
        axes.hist(series.x, edges, alpha=0.55, histtype="stepfilled", label=series.label, **look)


def _edges(low: float, high: float, *, logarithmic: bool) -> list[float]:
    if low == high:
        return [low - 0.5, low + 0.5]
    if logarithmic:
        return [low * (high / low) ** (part / BINS) for part in range(BINS + 1)]
    return [low + (high - low) * part / BINS for part in range(BINS + 1)]


def _ecdf(axes: Axes, plot: Plot) -> None:
    for number, series in enumerate(plot.series):
        if len(series.x):
            axes.ecdf(series.x, label=f"{series.label} (n = {len(series.x)})", **_look(number, series))


def _bars(axes: Axes, plot: Plot) -> None:
    names = list(dict.fromkeys(str(name) for series in plot.series for name in series.x))
    stacked = plot.kind == "stacked"
    beside = [series.run if stacked else number for number, series in enumerate(plot.series)]
    width = 0.8 / (1 + max(beside, default=0))
    below: dict[float, float] = defaultdict(float)
    for number, series in enumerate(plot.series):
        places = [names.index(str(name)) - 0.4 + width * (beside[number] + 0.5) for name in series.x]
        bottom = [below[place] for place in places]
        axes.bar(places, series.y, width * 0.92, bottom, label=series.label, **_fill(number, series))
        if stacked:
            below.update({place: low + float(y) for place, low, y in zip(places, bottom, series.y, strict=True)})
    axes.set_xticks(range(len(names)), names)
    if sum(map(len, names)) > AXIS_LETTERS:
        for name in axes.get_xticklabels():
            name.set(rotation=30, horizontalalignment="right")
    axes.grid(visible=False, axis="x")


def _spans(axes: Axes, plot: Plot) -> None:
    """The first series on top, each on a row with its name beside it."""
    for number, series in enumerate(plot.series):
        axes.broken_barh(_widths(series), (number - 0.36, 0.72), alpha=0.85, **_fill(number, series))
    axes.set_yticks(range(len(plot.series)), [series.label for series in plot.series])
    axes.set_ylim(len(plot.series) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _widths(series: Series) -> Sequence[tuple[float, float]]:
    pairs: Iterable[tuple[Any, Any]] = zip(series.x, series.y, strict=True)
    return [(float(start), float(end) - float(start)) for start, end in pairs]


DRAWN: dict[str, Callable[[Any, Plot], None]] = {
    "line": _line,
    "steps": _steps,
    "scatter": _scatter,
    "histogram": _histogram,
    "ecdf": _ecdf,
    "bars": _bars,
    "stacked": _bars,
    "spans": _spans,
}
