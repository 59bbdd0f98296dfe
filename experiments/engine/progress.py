"""The progress of a measurement on standard error: a bar on a terminal, else a line for each phase."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from experiments.engine.run import Progress
from testbed.plainconsole import PlainConsole
from topo.plaintext import say

# seldom: drawing takes time from what is being measured
PER_SECOND = 4


class Parts(ProgressColumn):
    """``16/20``, where it is known how many there are."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total else "")


class Bar:
    """A line for each phase that has begun: what it is, parts done, time left. They go away when the phases end."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            Parts(),
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


class Lines:
    """A line for each phase that begins, once, for logs: ``foobar: visit``."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def begin(self, phase: str, total: float | None) -> None:  # noqa: ARG002 - a line is no bar
        if phase not in self._said:
            self._said.add(phase)
            say(f"foobar: {phase}", error=True, flush=True)

    def advance(self, parts: float) -> None: ...

    def end(self) -> None: ...


def progress() -> Progress:
    """A bar or lines, as suits standard error; standard output is the result's alone."""
    console = PlainConsole(stderr=True)
    return Bar(console) if console.is_terminal else Lines()
