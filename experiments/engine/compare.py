"""Two runs of one experiment side by side: what was asked for, what came out, plots over each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.engine import numbers, result, savedrun
from experiments.engine.base import Experiment
from experiments.engine.plots import Plot, laid_over
from experiments.engine.result import RunResult
from experiments.engine.savedrun import SavedRun
from topo.errors import UsageError


@dataclass(frozen=True)
class Side:
    """One of the two: its name in legends, and the run."""

    name: str
    run: SavedRun


@dataclass(frozen=True)
class Row:
    """One line: what, as it is in A and in B, and what changed (empty when nothing did)."""

    what: str
    a: str
    b: str
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """``asked``: axes, rounds and options that differ. ``alone``: titles of plots that only one side has."""

    experiment: Experiment[Any]
    a: Side
    b: Side
    asked: Sequence[Row]
    numbers: Sequence[Row]
    plots: Sequence[Plot]
    alone: Sequence[str]


def side(name: str, path: Path, experiment: Experiment[Any]) -> Side:
    """Read a run's folder and judge it. Raises UsageError when it is none."""
    return Side(name, savedrun.opened(path, lambda _: experiment))


def common(a: Path, b: Path) -> str:
    """The name of the experiment that both folders are runs of. Raises UsageError when they are of two."""
    first, second = (result.read(path).experiment for path in (a, b))
    if first != second:
        raise UsageError(f"{a} is a run of {first}, {b} of {second}: runs of two experiments cannot be compared")
    return first


def compared(experiment: Experiment[Any], a: Side, b: Side) -> Comparison:
    """The profiles' differences, all numbers, and the plots that both have."""
    ours, theirs = ({plot.title: plot for plot in side.run.plots()} for side in (a, b))
    both = [title for title in ours if title in theirs and ours[title].kind == theirs[title].kind]
    return Comparison(
        experiment,
        a,
        b,
        _rows(_asked(a.run.result), _asked(b.run.result), differing=True),
        _rows(dict(numbers.flat(a.run.verdict.numbers)), dict(numbers.flat(b.run.verdict.numbers)), differing=False),
        [laid_over({a.name: ours[title], b.name: theirs[title]}) for title in both],
        [title for title in {**ours, **theirs} if title not in both],
    )


def _asked(result: RunResult) -> dict[str, Any]:
    flags = {**result.profile, **result.options, "repeat": result.repeat}
    return {f"--{name}": value for name, value in flags.items()}


def _rows(a: Mapping[str, Any], b: Mapping[str, Any], *, differing: bool) -> list[Row]:
    return [
        Row(what, numbers.said(a.get(what)), numbers.said(b.get(what)), _change(a.get(what), b.get(what)))
        for what in {**a, **b}
        if not differing or a.get(what) != b.get(what)
    ]


def _change(a: Any, b: Any) -> str:
    """``+12.5 (+50 %)`` for numbers, a word for what else differs."""
    if a == b:
        return ""
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (a, b)):
        return "differs"
    share = f" ({(b - a) / abs(a):+.0%})".replace("%", " %") if a else ""
    return f"{'+' if b > a else '-'}{numbers.said(abs(b - a))}{share}"
