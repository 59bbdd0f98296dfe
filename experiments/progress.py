"""How far a measurement is: a bar on the terminal of somebody who watches, and nothing for a program that reads."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from experiments.run import Progress, Silent

# seldom: drawing takes time from what is being measured
PER_SECOND = 4


class Bar:
    """A line for each phase that has begun: what it is, parts done, time left. They go away when the phases end."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            refresh_per_second=PER_SECOND,
        )
        self._phases: list[TaskID] = []

    def begin(self, phase: str, total: float | None) -> None:
        if not self._phases:
            self._bars.start()
        self._phases.append(self._bars.add_task(phase, total=total))

    def advance(self, parts: float) -> None:
        self._bars.advance(self._phases[-1], parts)

    def end(self) -> None:
        self._bars.remove_task(self._phases.pop())
        if not self._phases:
            self._bars.stop()


def progress() -> Progress:
    """The bar where standard error is a terminal; standard output is the result's alone."""
    console = Console(stderr=True, highlight=False)
    return Bar(console) if console.is_terminal else Silent()
