"""A folder that somebody hands in, with links where results go: every command that writes refuses and names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import SteadyTestbed
from test_experiments import Guess
from test_folders import Outside, seen

from experiments import __main__ as experiments
from experiments import catalog
from experiments.engine import drawing, folder, runner
from experiments.engine.plots import Plot
from testbed import cli, launcher, preflight
from topo.errors import UsageError

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """``typed("experiments", "report", folder)`` -> (exit code, error output), in a folder of its own, with sudo."""

    def no_box(*_: object, **__: object) -> int:
        raise AssertionError("a box was about to be made")

    monkeypatch.setattr(launcher, "Launcher", no_box)
    monkeypatch.setattr(preflight, "check", lambda **_: None)
    monkeypatch.setattr(drawing, "png", lambda plot: b"png")
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setenv("SUDO_GID", "4712")
    monkeypatch.setenv("FOOBAR_STATE", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(main: str, *words: object) -> tuple[int, str]:
        line = [str(word) for word in words]
        code = experiments.main(line) if main == "experiments" else cli.main(lambda *_: 0, line)
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def handed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalog, "EXPERIMENTS", (Guess(3),))
    monkeypatch.setattr(Guess, "plots", lambda *_: [Plot("A guess", "x", "y", [])])
    _, path = runner.run(Guess(3), SteadyTestbed(True, True), tmp_path / "handed in")  # type: ignore[arg-type]
    (path / folder.REPORT).unlink()
    return path


def refused(answer: tuple[int, str], link: object, before: Outside, outside: Path) -> None:
    """One line that names the link, and nothing outside is another."""
    code, err = answer[0], answer[1].replace("--junit ", "")
    assert (code, err.count("\n")) == (64, 1), err
    assert err.startswith(f"foobar: {link}: a symbolic link, which is not "), err
    assert seen(outside) == before


@pytest.mark.parametrize("name", [folder.REPORT, "plot"])
def test_report_follows_no_link(typed: Typed, handed_in: Path, outside: Path, name: str) -> None:
    if name == "plot":
        assert typed("experiments", "report", handed_in)[0] == 0
        plots = [file.name for file in handed_in.glob("plot-*.png")]
        name = plots[0]
        (handed_in / name).unlink()
    (handed_in / name).symlink_to(outside / "secret")
    refused(typed("experiments", "report", handed_in), handed_in / name, seen(outside), outside)


@pytest.mark.parametrize("command", ["report", "judge"])
@pytest.mark.parametrize("name", [folder.RESULT, folder.EVIDENCE, ""])
def test_what_is_read_is_no_link_either(typed: Typed, handed_in: Path, outside: Path, command: str, name: str) -> None:
    link = handed_in / name if name else handed_in.with_name("link")
    (link if name else handed_in).rename(outside / "moved")
    link.symlink_to(outside / "moved")
    refused(typed("experiments", command, link), link, seen(outside), outside)


@pytest.mark.parametrize("asked", [False, True], ids=["default", "html"])
def test_compare_follows_no_link(typed: Typed, handed_in: Path, outside: Path, asked: bool) -> None:
    words = ("experiments", "compare", handed_in, handed_in, *(("--html", "page.html") if asked else ()))
    assert typed(*words)[0] == 0
    (page,) = Path.cwd().iterdir()
    assert (page.stat().st_uid == 4711) is (os.geteuid() == 0)
    page.unlink()
    page.symlink_to(outside / "secret")
    before = seen(outside)
    refused(typed(*words), page.name, before, outside)


@pytest.mark.parametrize("where", ["runs", "experiment", "junit"])
def test_run_refuses_links_before_anything_boots(typed: Typed, tmp_path: Path, outside: Path, where: str) -> None:
    runs = Path("runs")
    if where == "runs":
        link = runs
    else:
        runs.mkdir()
        link = runs / ("journey" if where == "experiment" else "verdict.xml")
    link.symlink_to(outside / ("secret" if where == "junit" else ""))
    before = seen(outside)
    junit = link if where == "junit" else "verdict.xml"
    refused(typed("experiments", "run", "journey", "--runs", "runs", "--junit", junit), link, before, outside)
    if where == "runs":
        refused(typed("main", "--runs", "runs"), link, before, outside)


def test_an_existing_folder_stays_its_owners_with_all_that_it_leads_to(
    typed: Typed, tmp_path: Path, outside: Path
) -> None:
    """``--runs EXISTING`` made it the person's who typed sudo, and whatever its links lead to, readable for all."""
    runs = tmp_path / "existing"
    for place in (runs, runs / "guess", runs / "guess" / "earlier"):
        place.mkdir(mode=0o700)
        (place / "link").symlink_to(outside / "secret")
        (place / "kept").write_text("kept")
        (place / "kept").chmod(0o600)
    before, there = seen(outside), seen(runs)
    junit = tmp_path / "verdict.xml"
    assert runner.run_all([Guess(3)], SteadyTestbed(True, True), runs, as_json=True, junit_file=junit) == 0  # type: ignore[arg-type]
    assert seen(outside) == before
    after = seen(runs)
    assert {path: after[path] for path in there} == there
    made = [Path(path) for path in after.keys() - there.keys()]
    owner = 4711 if os.geteuid() == 0 else os.geteuid()
    assert {path.lstat().st_uid for path in (*made, junit)} == {owner}
    assert {path.name for path in made} >= {folder.RESULT, folder.EVIDENCE, folder.REPORT, folder.LOGS}


def test_a_run_whose_folder_is_exchanged_for_a_link_goes_on_in_its_own(
    typed: Typed, tmp_path: Path, outside: Path
) -> None:
    class Exchanged(Guess):
        def measure(self, testbed: object, run: object) -> object:  # type: ignore[override]
            evidence = super().measure(testbed, run)  # type: ignore[arg-type]
            place: Path = run.folder.path  # type: ignore[attr-defined]
            place.rename(tmp_path / "moved")
            place.symlink_to(outside)
            return evidence

    before = seen(outside)
    _, path = runner.run(Exchanged(3), SteadyTestbed(True, True), tmp_path / "runs")  # type: ignore[arg-type]
    assert seen(outside) == before
    assert path.is_symlink()
    assert (tmp_path / "moved" / folder.RESULT).exists()


@pytest.mark.parametrize("command", [("policy", "check"), ("policy", "apply"), ("verify", "--policy")])
@pytest.mark.parametrize("file", ["/dev/full", "/dev/zero", "pipe", "huge", "."])
def test_a_policy_file_is_a_plain_file(
    typed: Typed, command: tuple[str, ...], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``policy check /dev/full`` read until all memory was taken."""
    monkeypatch.setattr(cli.Terminal, "target", lambda *_: type("Target", (), {"profile": cli.profile.SEED}))
    os.mkfifo("pipe")
    with open("huge", "wb") as stream:
        stream.truncate(2**40)
    code, err = typed("main", *command, file)
    assert (code, err.count("\n")) == (64, 1), err
    assert err.startswith(f"foobar: {file}: ")


def test_names_of_all_kinds_will_do(typed: Typed, tmp_path: Path) -> None:
    place = tmp_path / "with space 'and' \"quotes\" $HOME;`id`{}:\u00fc" / "runs"
    assert runner.run_all([Guess(3)], SteadyTestbed(True, True), place, as_json=True) == 0  # type: ignore[arg-type]
    (made,) = (place / "guess").iterdir()
    assert (made / folder.REPORT).exists()


def test_a_missing_folder_for_runs_is_no_error_before_the_boot(tmp_path: Path) -> None:
    folder.refuse(tmp_path / "nowhere", ["journey"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file: Not a directory; say where results may go with --runs DIR$"):
        folder.refuse(tmp_path / "file", ["journey"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
