"""Bad folders and bad text: each ends in a line and the right exit code, and is never markup; names are any bytes."""

from __future__ import annotations

import ast
import copy
import html
import io
import os
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import trials
from rich.table import Table
from rich.text import Text

from experiments import __main__ as command
from experiments import catalog
from experiments.db_failover.evidence import numbers
from experiments.engine import drawing, folder, report, savedrun
from experiments.engine.plots import Mark, Plot, Series
from testbed import cli
from testbed.plainconsole import PlainConsole
from topo import folders
from topo.paths import PROJECT
from topo.plaintext import plain

HOSTILE = "<b nasty='\"'>[/x][red]\x1b[2J\x9b\u202e\udcff\ud83d&amp;"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a report."""
    monkeypatch.setattr("experiments.engine.drawing.png", lambda plot: b"")


def test_damaged_run_folders_end_in_a_line_and_the_right_exit_code() -> None:
    ended = [outcome for _, outcome in trials.trials("folders", 100, largest=60_000)]
    assert [outcome.wrong for outcome in ended if outcome.wrong] == []
    assert {outcome.code for outcome in ended} == {0, 1, 2, 64}


@pytest.mark.parametrize(("name", "said"), [("/dev/full", "no plain file, not a file"), ("big", "larger than 1 MiB")])
def test_a_policy_that_would_fill_the_memory_is_not_read(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "big").write_bytes(b"#" * (2**20 + 1))
    with trials.alone(tmp_path):
        outcome = trials.tried(lambda words: cli.main(trials.no_visit, words), ["policy", "check", name], (64,))
    assert (outcome.wrong, outcome.err.count("\n"), said in outcome.err) == (None, 1, True), outcome.err


@pytest.mark.parametrize(("kind", "count"), [("policies", 30), ("words", 60)])
def test_damaged_policies_and_command_lines_do_too(kind: str, count: int) -> None:
    ended = [outcome for _, outcome in trials.trials(kind, count)]
    assert [outcome.wrong for outcome in ended if outcome.wrong] == []
    assert {outcome.code for outcome in ended} >= {0, 64}


def test_a_trial_notices_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative control: without the door, and with a command that raises, prints escapes or does not end."""
    assert trials.tried(lambda words: 7, [], (0,)).wrong == "exit code 7"
    assert trials.tried(lambda words: 1 // 0, [], (0,)).wrong == "a traceback"
    assert trials.tried(lambda words: print("\x1b[2J") or 0, [], (0,)).wrong == "a control character on the terminal"
    monkeypatch.setattr("experiments.engine.savedrun.circumstances", lambda raw: 1 // 0)
    wrong = [outcome.wrong for _, outcome in trials.trials("folders", 20, largest=12_000)]
    assert "a traceback" in wrong


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("result.json", b"[]", "result.json: the whole: Expected `object`, got `array`"),
        ("result.json", b"{}", "result.json: the whole: Object missing required field `experiment`"),
        ("result.json", b"\xff", "result.json: not JSON ("),
        ("result.json", b"[" * 200_000, "result.json: not JSON (nested too deeply)"),
        ("evidence.json", b'{"steady": NaN}', "evidence.json: not JSON (NaN is no number)"),
        ("evidence.json", b'{"steady": 1e999}', "evidence.json: not JSON (1e999 is no number)"),
        ("evidence.json", b'{"schema": 1' + b"0" * 400 + b"}", "(10000000000000000000... is no number)"),
        ("evidence.json", b'{"timeline": [{"time": 1}]}', "timeline[0]: a mark has a time and says what"),
        ("evidence.json", b'{"schema": [0]}', "evidence.json: schema 1: schema: Expected `int`, got `array`"),
        ("result.json", None, "result.json: No such file or directory"),
        ("evidence.json", Path("/dev/full"), "evidence.json"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["judge", "report", "compare"])
def test_what_is_no_run_is_told_in_one_line_by_every_command(
    tmp_path: Path, verb: str, name: str, content: bytes | Path | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made(tmp_path / "run", "journey-1")
    (path / name).unlink()
    if isinstance(content, Path):
        (path / name).symlink_to(content)
    elif content is not None:
        (path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    assert command.main([verb, str(path), *([str(path)] if verb == "compare" else [])]) == 64
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), said in err) == ("", 1, True), err
    assert sorted(tmp_path.rglob("*")) == before


def test_evidence_that_an_experiment_cannot_read_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(tmp_path / "run", "journey-1", lambda evidence: {})
    assert command.main(["judge", str(path)]) == 2
    assert "unknown - the evidence cannot be judged: EvidenceError: evidence.json: schema 0: no schema 1 of it" in (
        capsys.readouterr().out
    )
    assert (
        command.main(["report", str(path)])
        == command.main(["compare", str(path), str(path), "--html", str(path / "x")])
        == 0
    )


def test_numbers_without_end_fill_no_memory() -> None:
    with pytest.raises(ValueError, match="1-99999999999 is more than 10,000,000 writes"):
        numbers("1-99999999999")


def made(path: Path, name: str, change: Any = lambda value: value) -> Path:
    """The folder of a kept run, with its evidence changed."""
    path.mkdir()
    result, evidence = next((result, evidence) for kept, result, evidence in trials.runs() if kept == name)
    folder.write(folders.opened(path), folder.RESULT, result)
    folder.write(folders.opened(path), folder.EVIDENCE, change(copy.deepcopy(evidence)))
    return path


# --- text is never markup ------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def hostile(value: Any, only: str = "", key: str = "") -> Any:
    """The same data, with something nasty at the end of every text that is a value; ``only``: of these keys."""
    if isinstance(value, dict):
        return {key: hostile(item, only, key) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, only, key) for item in value]
    return value + HOSTILE if isinstance(value, str) and (not only or key in only.split()) else value


def texts_of(run: tuple[str, dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run of which every text is nasty, as far as it is judged all the same."""
    kept = {name: run[1][name] for name in ("experiment", "status")}
    only = {"journey": "sql text site", "tls_tampering": "line why request_id"}.get(kept["experiment"], "")
    return {**hostile(run[1]), **kept}, hostile(run[2], only)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("run", trials.runs(500_000), ids=lambda run: run[0])
def test_text_of_files_is_no_markup_on_the_terminal_nor_in_a_page(
    tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    result, evidence = texts_of(run)
    folder.write(folders.opened(tmp_path), folder.RESULT, result)
    folder.write(folders.opened(tmp_path), folder.EVIDENCE, evidence)
    experiment = catalog.experiment(result["experiment"])
    saved = savedrun.opened(tmp_path, lambda _: experiment)
    report.say(experiment, saved.verdict)
    with_story(experiment, saved)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    page = report.write(experiment, folders.opened(tmp_path)).read_text()
    assert HOSTILE[:8] not in page
    assert [tag for tag in Tags(page).seen if "nasty" in tag[1]] == []
    if run[0].startswith(("journey", "tls_tampering")):
        assert "[/x][red]\\x1b[2J" in out, "a negative control: nasty text is shown, as it is"
        assert "&lt;b nasty=" in page


def with_story(experiment: Any, saved: Any) -> None:
    """The experiment's own story; nasty evidence may make no sense to it."""
    try:
        story = experiment.show(saved.evidence, saved.verdict)
    except (KeyError, ValueError, AttributeError, LookupError):
        return
    report.console.print(story)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", trials.NAMES)
def test_a_file_of_any_name_is_a_link_beside_the_page(tmp_path: Path, name: bytes) -> None:
    path = made(tmp_path / "run", "tls_exposure-1")
    (path / os.fsdecode(name)).write_bytes(b"x")
    page = report.write(catalog.experiment("tls_exposure"), folders.opened(path)).read_text()
    targets = [attrs["href"] for tag, attrs in Tags(page).seen if tag == "a"]
    assert len(targets) == len([file for file in path.iterdir() if file.name != folder.REPORT])
    assert all(re.fullmatch(r"\./[\w.~%-]+", target or "") for target in targets)


@pytest.mark.usefixtures("undrawn")
def test_what_a_page_gives_to_be_typed_again_is_words_for_a_shell(tmp_path: Path) -> None:
    path = made(tmp_path / "a run;$(touch x)\x1b[2J", "tls_exposure-1")
    result = folder.read(path, folder.RESULT)
    folder.write(folders.opened(path), folder.RESULT, {**result, "options": {"rate": "1; touch y\r"}})
    page = html.unescape(report.write(catalog.experiment("tls_exposure"), folders.opened(path)).read_text())
    assert "a run;$(touch x)\\x1b[2J'    #" in page
    assert "--rate '1; touch y\\r'" in page


@pytest.mark.filterwarnings("error")
def test_a_picture_takes_words_as_words() -> None:
    """matplotlib would read ``$`` as mathematics, and warn of letters that its font lacks."""
    named = f"$\\frac{{ {HOSTILE}"
    plot = Plot(named, "x", "y", [Series(named, [named, "b"], [1, 2])], "bars", [Mark(1, named)], note=named)
    assert drawing.png(plot).startswith(b"\x89PNG")


def test_results_for_ci_hold_what_xml_can_hold() -> None:
    verdict = {"holds": None, "because": HOSTILE, "numbers": {HOSTILE: HOSTILE}}
    result = {"experiment": "journey", "claim": HOSTILE, "status": "completed", "duration_s": 1.0, "folder": HOSTILE}
    text = report.junit([{**result, "verdict": verdict, "started": "2026-01-02T03:04:05"}])
    assert ElementTree.fromstring(text.encode()).tag == "testsuite"


def test_a_table_of_the_terminal_takes_words_as_words() -> None:
    stream = io.StringIO()
    table = Table()
    table.add_column("[/x]")
    table.add_row("[red]:smile:")
    PlainConsole(file=stream, width=80).print(table, "[/y]", Text("a\x1b[2Jb\rc"))
    shown = stream.getvalue()
    assert all(word in shown for word in ("[/x]", "[red]:smile:", "[/y]", "a\\x1b[2Jb"))
    assert "\x1b" not in shown


def test_plain_text_stays_and_the_rest_is_told() -> None:
    assert plain("naïve ✓\tx\n") == "naïve ✓\tx\n"
    assert plain("\x1b[31m\x07\x9b\u202e\udcff") == "\\x1b[31m\\x07\\x9b\\u202e\\udcff"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a b", "é".encode(), b"\x1b[2J", b"[red]"])
@pytest.mark.usefixtures("undrawn")
def test_a_name_that_is_no_utf_8_works(tmp_path: Path, name: bytes) -> None:
    path = made(tmp_path / os.fsdecode(name), "tls_exposure-1")
    policy = tmp_path / os.fsdecode(name + b".policy")
    policy.write_text("allow tcp client -> lb port 443\n")
    with trials.alone(tmp_path):
        for words, main in (
            (["judge", str(path)], command.main),
            (["report", str(path)], command.main),
            (["compare", str(path), str(path), "--html", str(path / "page.html")], command.main),
            (["policy", "check", str(policy)], lambda words: cli.main(trials.no_visit, words)),
        ):
            assert trials.tried(main, words, (0, 1)).wrong is None
    assert (path / "page.html").exists()


def test_text_without_an_encoding_is_printed_as_escapes() -> None:
    """Also where the terminal's encoding lacks letters that we use."""
    for encoding in ("utf-8", "latin-1", "ascii"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
        with redirect_stdout(stream):
            assert command.main(["list"]) == 0


# --- kept so -------------------------------------------------------------------------------------------------------


def calls(source: str, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def unplain(source: str) -> list[int]:
    """The lines that print what is no JSON, or make a console of rich's own."""
    prints = [node.lineno for node in calls(source, "print") if "json.dumps" not in ast.unparse(node.args[0])]
    return prints + [node.lineno for node in calls(source, "Console")]


def test_commands_print_plainly() -> None:
    """Workers and benchmarks' parts print for programs of ours, not for a terminal."""
    shown = [PROJECT / "experiments" / "__main__.py", *(PROJECT / "experiments" / "engine").glob("*.py")]
    shown += [*(PROJECT / "testbed").rglob("*.py"), PROJECT / "benchmarks" / "table.py"]
    assert {str(path): unplain(path.read_text()) for path in shown if unplain(path.read_text())} == {}
    assert unplain("print(f'{x}')\nprint(json.dumps(x))\nConsole(stderr=True)") == [1, 3], "a negative control"


def test_pages_mark_nothing_from_outside_as_safe() -> None:
    """Only constants are: whatever else a template says is escaped."""
    templates = (PROJECT / "experiments" / "templates").glob("*.j2")
    found = [match for path in templates for match in re.findall(r"(\S+) \| safe", path.read_text())]
    assert [word for word in found if not word.endswith(("'", '"'))] == []
    assert found
    assert report.TEMPLATES.get_template("parts.html.j2").environment.autoescape("parts.html.j2")
