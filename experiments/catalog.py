"""Every experiment, listed by hand: the place to add one."""

from __future__ import annotations

import difflib

from experiments.base import Experiment
from experiments.journey import Journey
from topo.errors import UsageError

EXPERIMENTS: tuple[Experiment, ...] = (Journey(),)


def experiment(name: str) -> Experiment:
    """The experiment of that name. Raises UsageError, naming the possible ones."""
    for each in EXPERIMENTS:
        if each.name == name:
            return each
    names = [each.name for each in EXPERIMENTS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"experiments: {', '.join(names)}"
    raise UsageError(f"{name}: no such experiment; {hint}")
