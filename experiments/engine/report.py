"""The presentation of a run: a few lines on the terminal, report.html, one self-contained file, and JUnit XML.

In the XML, which every CI server reads, a claim that fails is a *failure*; unknown, refused and aborted are *errors*,
because nothing was found out. Numbers are properties of the suite, since the common schema gives test cases none.
"""

from __future__ import annotations

import os
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from junitparser import Error, Failure
from junitparser.xunit2 import TestCase, TestSuite
from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from experiments.engine import folder, numbers, provenance, run, savedrun
from experiments.engine.base import Experiment
from experiments.engine.compare import Comparison, Row
from experiments.engine.evidence import MachineSecond
from experiments.engine.numbers import flat, is_distribution
from experiments.engine.plots import Plot, Series
from experiments.engine.savedrun import SavedRun
from experiments.engine.verdict import Verdict
from testbed.plainconsole import PlainConsole
from topo import folders
from topo.errors import UsageError
from topo.folders import Folder
from topo.paths import PROJECT
from topo.plaintext import encodable, plain

TEMPLATES = Environment(
    loader=FileSystemLoader(PROJECT / "experiments" / "templates"),
    undefined=StrictUndefined,
    autoescape=select_autoescape(["html", "svg", "j2"]),
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["said"] = numbers.said
TEMPLATES.filters["plain"] = plain
# a file's name as the target of a link: a place beside the page, whatever the name looks like
TEMPLATES.filters["beside"] = lambda name: f"./{quote(os.fsencode(name))}"
WORDS = {True: ("holds", "bold green"), False: ("fails", "bold red"), None: ("unknown", "bold yellow")}

console = PlainConsole()
SUITE = "experiments"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
ILLEGAL = re.compile("[^\t\n\r -\x7e\x80-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Picture:
    """A drawn plot: its file's name, and its PNG as a data: URL has it; ``trouble``: the reason if there is none."""

    title: str
    name: str
    data: str
    trouble: str = ""


def show(experiment: Experiment[Any], result: Mapping[str, Any], path: Path) -> None:
    """The experiment's own story, then the verdict and where everything is."""
    verdict = Verdict(**result["verdict"])
    if result["status"] == "completed":
        console.print(experiment.show(experiment.evidence.parse(folder.read(path, folder.EVIDENCE)), verdict))
    say(experiment, verdict)
    console.print(f"results: {path}", soft_wrap=True)


def say(experiment: Experiment[Any], verdict: Verdict) -> None:
    """Claim and verdict in two lines."""
    word, style = WORDS[verdict.holds]
    console.print(f"claim: {experiment.claim}", soft_wrap=True)
    console.print(Text.assemble("verdict: ", (word, style), f" - {verdict.because}"), soft_wrap=True)


def write(experiment: Experiment[Any], place: Folder) -> Path:
    """Write the plots and report.html from what is in a run's folder; returns the report's path."""
    saved = savedrun.opened(place.path, lambda _: experiment)
    verdict, marks, seconds = saved.verdict, saved.around.timeline, saved.around.machine
    flat = list(numbers.flat(verdict.numbers, split=False))
    html = TEMPLATES.get_template("report.html.j2").render(
        title=f"{experiment.name}: {WORDS[verdict.holds][0]}",
        experiment=experiment,
        result=saved.result,
        verdict=verdict,
        word=WORDS[verdict.holds][0],
        numbers=[(name, value) for name, value in flat if not is_distribution(value)],
        distributions=[(name, value) for name, value in flat if is_distribution(value)],
        pictures=pictures(saved.plots(), place),
        page=_page(saved),
        marks=run.timeline_rows(marks)[: run.MOST_ROWS],
        more_marks=max(0, len(marks) - run.MOST_ROWS),
        strip=pictures(run.timeline_strip(marks, seconds), place),
        machine=seconds,
        overloaded=provenance.overloaded(seconds),
        load=pictures(_load(seconds), place),
        judge=shlex.join([".venv/bin/python", "-m", "experiments", "judge", str(place.path)]),
        files=sorted(_names(place.path)),
    )
    place.write(folder.REPORT, encodable(html))
    return place.path / folder.REPORT


def show_comparison(comparison: Comparison) -> None:
    """Both verdicts, what was asked for differently, and the numbers side by side."""
    console.print(f"claim: {comparison.experiment.claim}", soft_wrap=True)
    for side in (comparison.a, comparison.b):
        word, style = WORDS[side.run.verdict.holds]
        console.print(Text.assemble(f"{side.name}: ", (word, style), f" - {side.run.verdict.because}"), soft_wrap=True)
    for title, rows in (("asked for", comparison.asked), ("numbers", comparison.numbers)):
        if rows:
            console.print(_table(title, rows))


def _table(title: str, rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in (title, "A", "B", "change"):
        table.add_column(column, justify="left" if column == title else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.what, row.a, row.b, row.change)))
    return table


def write_comparison(comparison: Comparison, target: Path) -> Path:
    """The same as a page of its own, with the plots over each other. Raises UsageError when it cannot be written."""
    html = TEMPLATES.get_template("compare.html.j2").render(
        title=f"{comparison.experiment.name}: {comparison.a.run.folder.name} and {comparison.b.run.folder.name}",
        comparison=comparison,
        words={holds: word for holds, (word, _) in WORDS.items()},
        pictures=pictures(comparison.plots),
    )
    try:
        folders.write(target, encodable(html))
    except UsageError as error:
        raise UsageError(f"{error}; say where the page may go with --html FILE") from None
    return target


def pictures(plots: Iterable[Plot], place: Folder | None = None) -> list[Picture]:
    """Draw plots, and keep each as a file where there is a folder. One that cannot be drawn says why."""
    return [_picture(plot, place) for plot in plots]


def _picture(plot: Plot, place: Folder | None) -> Picture:
    from experiments.engine import drawing

    name = f"plot-{re.sub(r'[^a-z0-9]+', '-', plot.title.lower()).strip('-')}.png"
    try:
        data = drawing.png(plot)
    except Exception as error:  # whatever matplotlib makes of strange numbers: the rest of the report is good
        return Picture(plot.title, name, "", f"{type(error).__name__}: {error}")
    if place:
        place.write(name, data)
    return Picture(plot.title, name, b64encode(data).decode())


def _page(saved: SavedRun) -> Markup:
    """The experiment's own part; what it cannot make of half the evidence is no reason to show nothing."""
    why = saved.lacks
    try:
        if saved.evidence is not None:
            return Markup(saved.experiment.page(saved.evidence))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    return Markup("<p class=faint>The evidence is not enough for this experiment's own page ({}).</p>").format(why)


def _load(seconds: Sequence[MachineSecond]) -> Iterator[Plot]:
    """The machine's load as plots, once it was measured for long enough to be a line."""
    if len(seconds) < 2:
        return
    times = [second["time"] - seconds[0]["time"] for second in seconds]
    busy, late = [100 * (1 - second["idle"]) for second in seconds], [second["lag_ms"] for second in seconds]
    since = "time since measuring began (s)"
    yield Plot("The machine's processors", since, "busy (%)", [Series("busy", times, busy)], "steps")
    yield Plot(
        "How late a sleep of 10 ms woke", since, "worst of a second (ms)", [Series("late", times, late)], "steps"
    )


def _names(path: Path) -> Iterator[str]:
    """Every file of a run's folder, by its path within."""
    for file in path.rglob("*"):
        if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
            yield str(file.relative_to(path))


def junit(results: Sequence[Mapping[str, Any]]) -> str:
    """One test suite with a test case for each result (result.json's content, and its ``folder``)."""
    suite = TestSuite(SUITE)  # type: ignore[no-untyped-call]
    suite.timestamp = results[0]["started"][:19] if results else "1970-01-01T00:00:00"
    suite.hostname = "localhost"
    for result in results:
        for name, value in flat({result["experiment"]: result["verdict"]["numbers"]}):
            suite.add_property(_legal(name), _legal(str(value)))
    suite.add_testcases([_case(result) for result in results])
    suite.system_out = _legal("".join(f"{result['folder']}\n" for result in results))
    suite.system_err = ""
    text: bytes = suite.tostring()  # type: ignore[no-untyped-call]
    return DECLARATION + text.decode()


def _case(result: Mapping[str, Any]) -> TestCase:
    verdict = result["verdict"]
    case = TestCase(result["experiment"], SUITE, result["duration_s"])
    if not verdict["holds"]:
        kind = Error if verdict["holds"] is None else Failure
        word = "fails" if kind is Failure else "unknown" if result["status"] == "completed" else result["status"]
        case.result = [kind(_legal(verdict["because"]), word)]
        case.result[0].text = _legal(f"claim: {result['claim']}\n{word}: {verdict['because']}\n{result['folder']}")
    return case


def _legal(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return ILLEGAL.sub("?", text)
