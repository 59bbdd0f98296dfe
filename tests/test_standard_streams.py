"""Commands whose standard streams are closed, full, or have lost their reader: they end with the right exit code.

Each command runs in a process of its own, forked from this one, as Python would have begun it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from fakes import SteadyTestbed

from experiments.__main__ import main as experiments_main
from experiments.engine import folder, runner
from experiments.engine.base import Experiment
from experiments.engine.evidence import Evidence
from experiments.engine.run import Run
from experiments.engine.verdict import Verdict
from testbed import cli, state
from testbed.commandline import guarded
from topo.errors import UsageError
from topo.paths import PROJECT

CLOSED, FULL, GONE, FINE = "closed", "full", "gone", "fine"


def streams(spoilt: dict[int, str], errors: Path) -> None:
    """In a new process: standard streams as a shell would have left them, and Python's own as at its start."""
    for descriptor in range(3):
        if spoilt.get(descriptor) == GONE:
            reader, writer = os.pipe()
            os.dup2(writer, descriptor)
            os.close(reader)
        else:
            fine = errors if descriptor == 2 else os.devnull
            os.dup2(
                os.open("/dev/full" if spoilt.get(descriptor) == FULL else fine, os.O_RDWR | os.O_CREAT), descriptor
            )
    for descriptor in range(3):
        if spoilt.get(descriptor) == CLOSED:
            os.close(descriptor)
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        there = spoilt.get(descriptor) != CLOSED
        setattr(sys, name, os.fdopen(descriptor, mode, closefd=False) if there else None)


def exit_code_of(work: Callable[[], int], spoilt: dict[int, str], errors: Path) -> int:
    """The exit status as Python's own end would have it: 1 for an exception, 120 for output that cannot be flushed."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            streams(spoilt, errors)
            try:
                code = work()
            except BaseException:
                errors.write_text(traceback.format_exc())
                code = 1
            try:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
            except (OSError, AttributeError):
                code = 120
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return tmp_path / "errors"


@pytest.fixture
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    monkeypatch.setattr(state, "folder", lambda: tmp_path / "state")


def foobar(*words: str) -> Callable[[], int]:
    return lambda: cli.main(lambda *_: 0, words)


def experiments(*words: str) -> Callable[[], int]:
    return lambda: experiments_main(words)


#: what each ends with when all is well; all of them print something
COMMANDS: dict[str, tuple[Callable[[], int], int]] = {
    "status": (foobar("status"), 0),
    "status --json": (foobar("status", "--json"), 0),
    "policy show": (foobar("policy", "show"), 0),
    "policy show --file": (foobar("policy", "show", "--file"), 0),
    "completion bash": (foobar("completion", "bash"), 0),
    "--help": (foobar("--help"), 0),
    "policy --help": (foobar("policy", "--help"), 0),
    "experiments list": (experiments("list"), 0),
    "experiments --help": (experiments("--help"), 0),
}
#: these print an error
WRONG: dict[str, tuple[Callable[[], int], int]] = {
    "frobnicate": (foobar("frobnicate"), 64),
    "down": (foobar("down"), 64),
    "judge": (experiments("judge", "/nowhere"), 64),
    "broken": (lambda: guarded(lambda: 1 // 0), 3),
}
SPOILT: dict[str, tuple[dict[int, str], int]] = {
    "nothing": ({}, 0),
    "no input": ({0: CLOSED}, 0),
    "no output": ({1: CLOSED}, 0),
    "no errors": ({2: CLOSED}, 0),
    "nothing at all": ({0: CLOSED, 1: CLOSED, 2: CLOSED}, 0),
    "errors nobody reads": ({2: GONE}, 0),
    "errors that are full": ({2: FULL}, 0),
    "output nobody reads": ({1: GONE}, 141),
    "output and errors nobody reads": ({1: GONE, 2: GONE}, 141),
    "output that is full": ({1: FULL}, 3),
    "all that is full": ({1: FULL, 2: FULL}, 3),
}


#: the ways that differ most; all of them are tried with one command of each kind
FEW = ("nothing at all", "output nobody reads", "output that is full", "all that is full")


def cases(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """(kind, streams): the first kind with all that can happen to its streams, the others with a few."""
    return [(kind, streams) for number, kind in enumerate(kinds) for streams in (FEW if number else SPOILT)]


@pytest.mark.parametrize(("command", "streams"), cases(COMMANDS))
def test_what_cannot_be_printed_has_its_own_exit_code(
    command: str, streams: str, errors: Path, nothing_runs: None
) -> None:
    (work, well), (spoilt, code) = COMMANDS[command], SPOILT[streams]
    assert exit_code_of(work, spoilt, errors) == (code or well)
    said = errors.read_text() if errors.exists() else ""
    assert said == ("foobar: standard output: No space left on device\n" if spoilt == {1: FULL} else "")


@pytest.mark.parametrize(("command", "streams"), cases(WRONG))
def test_an_error_keeps_its_exit_code_whoever_hears_of_it(
    command: str, streams: str, errors: Path, nothing_runs: None
) -> None:
    work, code = WRONG[command]
    spoilt, _ = SPOILT[streams]
    assert exit_code_of(work, spoilt, errors) == code


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_launcher_takes_closed_streams_too(closed: str, tmp_path: Path) -> None:
    """Setting up says things on standard error; the program that it starts ends with its own exit code."""
    script = tmp_path / "foobar"
    script.write_text((PROJECT / "foobar").read_text())
    (tmp_path / "vagrant").mkdir()
    python = tmp_path / "python"
    provision = tmp_path / "vagrant" / "provision.sh"
    for path, body in ((provision, f"echo setting up >&2; echo {python}"), (python, "exit 2")):
        path.write_text(f"#!/bin/bash -e\n{body}\n")
        path.chmod(0o755)
    assert subprocess.run(["bash", "-c", f"bash {script} status {closed}"]).returncode == 2


# --- an experiment -------------------------------------------------------------------------------------------------


ENDS: dict[str, tuple[BaseException | None, int]] = {
    "done": (None, 1),
    "wrong": (UsageError("no"), 64),
    "interrupted": (KeyboardInterrupt(), 130),
}


@pytest.mark.parametrize(("end", "streams"), cases(ENDS))
@pytest.mark.parametrize("as_json", [False, True], ids=["a story", "json"])
@pytest.mark.usefixtures("impatient")
def test_a_run_is_saved_and_1_means_that_the_claim_fails(
    as_json: bool,
    streams: str,
    end: str,
    errors: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("experiments.engine.provenance.provenance", lambda *_: {})
    monkeypatch.setattr("experiments.engine.report.write", lambda _, place: (place.path / folder.REPORT).touch())
    (spoilt, code), (error, well) = SPOILT[streams], ENDS[end]
    experiment = Failing(error)
    junit = tmp_path / "junit.xml"

    def work() -> int:
        return guarded(
            lambda: runner.run_all([experiment], SteadyTestbed(), tmp_path, as_json=as_json, junit_file=junit)  # type: ignore[arg-type]
        )

    assert exit_code_of(work, spoilt, errors) == (well if error else code or well)
    (path,) = (tmp_path / "failing").iterdir()
    assert folder.read(path, folder.RESULT)["verdict"]["holds"] is (None if error else False)
    assert (path / folder.REPORT).exists()
    assert junit.exists() or not as_json


class Failing(Experiment[Evidence]):
    """Its claim fails, unless it breaks before."""

    name, claim, evidence = "failing", "it holds", Evidence

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def measure(self, testbed: Any, run: Run) -> Evidence:
        with run.phase("count"):
            if self.error:
                raise self.error
        return Evidence()

    def judge(self, evidence: Evidence) -> Verdict:
        return Verdict(False, "it does not")

    def show(self, evidence: Evidence, verdict: Verdict) -> str:
        return "a story\n" * 5000

    def page(self, evidence: Evidence) -> str:
        return ""
