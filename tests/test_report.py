"""Pictures, report.html and comparisons of two runs: what is in them, and that nothing strange breaks them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as command
from experiments import catalog
from experiments.engine import compare, drawing, folder, numbers, report, run
from experiments.engine.base import Experiment
from experiments.engine.evidence import Evidence, unchanged
from experiments.engine.numbers import distribution
from experiments.engine.plots import OF_SAMPLES, Kind, Mark, Plot, Series, laid_over
from experiments.engine.result import RunResult
from experiments.engine.verdict import Verdict
from topo.folders import opened
from topo.profile import HARDENED, SEED

PROJECT = Path(__file__).resolve().parent.parent
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class LagEvidence(Evidence):
    upgrades = {0: unchanged}  # noqa: RUF012 - a class variable, as in Evidence

    ms: Sequence[float]


class Lag(Experiment[LagEvidence]):
    """Some times and how they lie; every text in it wants to be HTML."""

    evidence = LagEvidence
    name = "lag"
    claim = "answers are <b>quick</b> & come"

    def measure(self, testbed: Any, run: Any) -> LagEvidence:
        raise NotImplementedError

    def judge(self, evidence: LagEvidence) -> Verdict:
        times = distribution(evidence.ms)
        found = {"requests": len(evidence.ms), "by": {"kill": {"added_ms": times}}, "servers": ["srv1", "<i>"]}
        return Verdict(times["median"] < 5, f"the median is {times['median']} <script>", found)

    def show(self, evidence: LagEvidence, verdict: Verdict) -> str:
        return ""

    def page(self, evidence: LagEvidence) -> str:
        return f"<h2>Own page</h2><p>{evidence.ms[0]}</p>"

    def plots(self, evidence: LagEvidence) -> list[Plot]:
        title = "Latency <of> answers"
        return [
            Plot(title, "latency (ms)", "share", [Series("all", evidence.ms)], "ecdf", [Mark(5, "target")]),
            Plot(f"Only {len(evidence.ms)}", "n", "ms", [Series("all", evidence.ms)], "histogram"),
        ]


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "EXPERIMENTS", (*catalog.EXPERIMENTS, Lag()))
    monkeypatch.setattr(drawing, "DPI", 30)  # small is quick
    monkeypatch.setattr(drawing, "png", drawn_once)


DRAW, PICTURES = drawing.png, dict[tuple[Any, ...], bytes]()


def drawn_once(plot: Plot) -> bytes:
    """Drawing is slow, and most of these tests draw the same."""
    key = (repr(plot), drawing.DRAWN[plot.kind])
    if key not in PICTURES:
        PICTURES[key] = DRAW(plot)
    return PICTURES[key]


def saved(path: Path, ms: list[float], **changes: Any) -> Path:
    """A run's folder as the engine leaves it."""
    path.mkdir()
    marks = [
        {"time": 100.0, "what": "phase", "name": "faults"},
        {"time": 101.0, "what": "fault", "fault": "kill srv1 <nginx>"},
        {"time": 102.5, "what": "healed", "fault": "kill srv1 <nginx>"},
    ]
    seconds = [{"time": 100.0 + each, "idle": 0.5, "lag_ms": 1.0} for each in range(3)]
    folder.write_rows(opened(path), folder.EVIDENCE, {"ms": ms, "timeline": marks, "machine": seconds})
    made = {"commit": "c0ffee", "dirty": True, "versions": {"nginx": "1 <x>"}, "argv": ["python", "<y>"]}
    result = {
        "experiment": "lag", "claim": "c", "profile": SEED.as_dict(), "seed": 7, "repeat": None, "options": {},
        "status": "completed", "steady": {"before": True, "after": True}, "started": "2026-01-02T03:04:05.678+00:00",
        "duration_s": 1.5, "provenance": {**made, "kernel": "6", "cpus": 2, "datapath": "user"}, **changes,
    }  # fmt: skip
    folder.write(opened(path), folder.RESULT, result)
    return path


# --- pictures --------------------------------------------------------------------------------------------------

SHAPES: dict[Kind, Series] = {
    "line": Series("a", [1, 2, 3], [3, 4, 5]),
    "steps": Series("a", [1, 2, 3], [3, 4, 5]),
    "scatter": Series("a", [1, 2, 3], [3, 4, 5]),
    "histogram": Series("a", [1, 2, 3, 3]),
    "ecdf": Series("a", [1, 2, 3, 3]),
    "bars": Series("a", ["srv1", "srv2"], [3, 4]),
    "stacked": Series("a", ["srv1", "srv2"], [3, 4]),
    "spans": Series("a", [1, 5], [2, 7]),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_each_kind_is_drawn_empty_and_laid_over_another(kind: Kind) -> None:
    log = "" if kind in ("bars", "stacked", "spans") else "xy"
    full = Plot("title", "x (s)", "y (ms)", [SHAPES[kind]] * 2, kind, [Mark(2, "kill")] * 3, "a note", log)
    empty = Plot("title", "x (s)", "y (ms)", [Series("a", [])], kind)
    for plot in (empty, laid_over({"A": full, "B": full})):
        assert drawing.png(plot).startswith(PNG)


def test_the_list_of_kinds_is_whole() -> None:
    assert set(drawing.DRAWN) == set(SHAPES) >= set(OF_SAMPLES)


def test_the_same_plot_is_the_same_picture() -> None:
    plot = Plot("title", "x", "y", [SHAPES["line"]])
    other = Plot("title", "x", "y", [Series("a", [1, 2, 3], [3, 4, 6])])
    assert DRAW(plot) == DRAW(plot) != DRAW(other)


def test_plots_over_each_other_say_whose_they_are() -> None:
    one = Plot("t", "x", "y", [Series("srv1", [1], [2]), Series("srv2", [1], [3])], marks=[Mark(5, "target")])
    two = Plot("t", "x", "y", [Series("srv1", [1], [9])], marks=[Mark(5, "target"), Mark(6, "kill")])
    both = laid_over({"A": one, "B": two})
    assert [(each.label, each.run, each.place) for each in both.series] == [
        ("A: srv1", 0, 0),
        ("A: srv2", 0, 1),
        ("B: srv1", 1, 0),
    ]
    assert [mark.label for mark in both.marks] == ["target", "B: kill"]


def test_judging_and_listing_load_no_matplotlib() -> None:
    code = "import sys, experiments.__main__, experiments.engine.report; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_fonts_are_kept_where_the_testbed_keeps_its_things(tmp_path: Path) -> None:
    code = (
        "from experiments.engine import drawing\nfrom experiments.engine.plots import Plot\n"
        "drawing.png(Plot('t', 'x', 'y', []))\nimport matplotlib\nprint(matplotlib.get_cachedir())"
    )
    known = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True,
        env={**known, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.strip() == str(tmp_path / ".cache" / "foobar" / "matplotlib")
    assert [each.name for each in tmp_path.iterdir()] == [".cache"]


# --- the timeline ----------------------------------------------------------------------------------------------


def test_phases_last_until_the_next_and_faults_until_healed() -> None:
    marks = [
        {"time": 10.0, "what": "phase", "name": "a"},
        {"time": 11.0, "what": "fault", "fault": "kill"},
        {"time": 12.0, "what": "phase", "name": "b"},
        {"time": 13.0, "what": "healed", "fault": "kill"},
        {"time": 14.0, "what": "fault", "fault": "cut"},
        {"time": 16.0, "what": "note", "why": "x", "more": 1},
    ]
    (plot,) = run.timeline_strip(marks)
    assert {each.label: (list(each.x), list(each.y)) for each in plot.series} == {
        "phase a": ([0.0], [2.0]),
        "phase b": ([2.0], [6.0]),
        "fault kill": ([1.0], [3.0]),
        "fault cut": ([4.0], [6.0]),
    }
    assert run.timeline_rows(marks)[-1] == (6.0, "note", "why x, more 1")


def test_the_last_phase_lasts_as_long_as_the_machine_was_watched() -> None:
    marks = [{"time": 10.0, "what": "phase", "name": "a"}, {"time": 12.0, "what": "phase", "name": "b"}]
    (plot,) = run.timeline_strip(marks, [{"time": 9.0}, {"time": 17.0}])
    assert {each.label: (each.x, each.y) for each in plot.series} == {
        "phase a": ([0.0], [2.0]),
        "phase b": ([2.0], [7.0]),
    }
    assert run.timeline_strip([], [{"time": 17.0}]) == []


@pytest.mark.parametrize("marks", [[], [{"time": 1.0, "what": "note"}], [{"time": 1.0, "what": "phase"}]])
def test_a_timeline_of_one_moment_has_no_picture(marks: list[dict[str, Any]]) -> None:
    assert run.timeline_strip(marks) == []


# --- words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"), (True, "yes"), (False, "no"), (12345, "12,345"), (0, "0"), (0.0, "0"), (0.33333, "0.3333"),
        (1234.56, "1,235"), (0.0000125, "0.000013"), (-2.5, "-2.5"), ([], "none"), (["a", 1], "a, 1"), ("x", "x"),
    ],
)  # fmt: skip
def test_numbers_are_said_for_people(value: Any, said: str) -> None:
    assert numbers.said(value) == said


def test_distributions_stay_whole_when_asked() -> None:
    nested = {"a": {"b": distribution([1.0, 2.0]), "c": 3}}
    assert [name for name, _ in numbers.flat(nested, split=False)] == ["a.b", "a.c"]
    assert [name for name, _ in numbers.flat(nested)][:2] == ["a.b.n", "a.b.min"]


def test_a_run_can_be_typed_again() -> None:
    profile = {**HARDENED.as_dict(), "servers": 5}
    again = RunResult(
        experiment="lag", profile=profile, status="completed", seed=7, repeat=20, options={"rate": 200}
    ).again
    assert again.startswith("sudo .venv/bin/python -m experiments run lag --")
    assert again.endswith("--servers 5 --seed 7 --repeat 20 --rate 200")
    assert f"--tls {HARDENED.tls}" in again
    assert "--balance" not in again
    plain = RunResult(experiment="lag", profile=SEED.as_dict(), status="completed", seed=7)
    assert plain.again == "sudo .venv/bin/python -m experiments run lag --seed 7"


# --- report.html -----------------------------------------------------------------------------------------------

VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Raises when an element is closed that is not open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_has_everything_in_one_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "run", [1.0, 2.0, 30.0])
    html = report.write(Lag(), opened(path)).read_text()
    Balanced(html)
    for text in (
        "holds", "the median is 2.0", "by.kill.added_ms", "Own page", "kill srv1 &lt;nginx&gt;", "Overloaded: 0 s",
        "c0ffee", "--seed 7", f"experiments judge {path}", "plot-latency-of-answers.png",
    ):  # fmt: skip
        assert text in html, text
    assert html.count("data:image/png;base64,") == 5
    assert re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html) == sorted(
        f"./{each.name}" for each in path.iterdir() if each.name != folder.REPORT
    )
    assert "url(" not in html


def test_nothing_in_the_report_is_taken_for_html(tmp_path: Path) -> None:
    html = report.write(Lag(), opened(saved(tmp_path / "run", [1.0]))).read_text()
    for text in ("<b>quick", "<script>", "<i>", "<nginx>", "<x>", "<y>", "<of>"):
        assert text not in html, text


@pytest.mark.parametrize("evidence", [{}, {"ms": []}, {"aborted": "interrupted"}, {"ms": ["x"]}])
def test_half_the_evidence_still_makes_a_report(tmp_path: Path, evidence: dict[str, Any]) -> None:
    path = saved(tmp_path / "run", [1.0])
    folder.write_rows(opened(path), folder.EVIDENCE, evidence)
    html = report.write(Lag(), opened(path)).read_text()
    Balanced(html)
    assert "<b>unknown</b>" in html
    assert "not enough for this experiment's own page" in html or "Own page" in html


def test_a_picture_that_cannot_be_drawn_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(drawing.DRAWN, "ecdf", lambda *_: 1 / 0)
    html = report.write(Lag(), opened(saved(tmp_path / "run", [1.0]))).read_text()
    assert "cannot be drawn: ZeroDivisionError" in html
    assert html.count("data:image/png") == 4


# --- compare ---------------------------------------------------------------------------------------------------


def test_two_runs_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a = saved(tmp_path / "20260102T030405Z-aaaaaa", [8.0, 10.0, 12.0])
    profile = {**SEED.as_dict(), "balance": "source"}
    b = saved(tmp_path / "20260102T030405Z-bbbbbb", [1.0, 4.0, 5.0], profile=profile, repeat=3)
    assert command.main(["compare", str(a), str(b)]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "A: fails - the median is 10.0 <script>" in lines
    assert "B: holds - the median is 4.0 <script>" in lines
    assert lines.index("--balance roundrobin source differs") < lines.index("requests 3 3")
    assert "--repeat - 3 differs" in lines
    assert "by.kill.added_ms.median 10 4 -6 (-60 %)" in lines
    page = tmp_path / "compare-aaaaaa-bbbbbb.html"
    assert lines[-1] == f"page: {page.name}"
    html = page.read_text()
    Balanced(html)
    assert html.count("data:image/png") == 2
    assert "<script>" not in html


def test_plots_that_only_one_has_are_named(tmp_path: Path) -> None:
    sides = [compare.side(name, saved(tmp_path / name, [1.0] * n), Lag()) for name, n in (("A", 2), ("B", 3))]
    found = compare.compared(Lag(), *sides)
    assert [plot.title for plot in found.plots] == ["Latency <of> answers"]
    assert found.alone == ["Only 2", "Only 3"]
    assert found.asked == []


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = saved(tmp_path / "a", [1.0]), saved(tmp_path / "b", [1.0], experiment="journey")
    for words, said in (
        ([a, b], "runs of two experiments cannot be compared"),
        ([a, tmp_path], "result.json: No such file"),
        ([a, a, "--html", tmp_path / "no" / "page.html"], "say where the page may go with --html FILE"),
    ):
        assert command.main(["compare", *(str(word) for word in words)]) == 64
        captured = capsys.readouterr()
        assert said in captured.err
        assert captured.err.count("\n") == 1
