"""Waiting: until the condition holds, never past the deadline by much, and saying what was seen last."""

from __future__ import annotations

import ast
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from syntax import tree
from test_imports import project

from topo import wait
from topo.errors import DeadlineError, UsageError


def test_it_returns_as_soon_as_the_condition_holds() -> None:
    seen = iter(["nothing", "half of it", None])
    wait.until(lambda: next(seen), what="all of it", seconds=5)
    assert list(seen) == []


def test_it_looks_once_even_without_time() -> None:
    wait.until(lambda: None, what="it", seconds=0)


def test_it_says_what_it_saw_last() -> None:
    count = itertools.count(1)
    began = time.monotonic()
    with pytest.raises(DeadlineError) as caught:
        wait.until(lambda: f"look {next(count)}", what="the moon", seconds=0.05)
    assert time.monotonic() - began < 1
    assert str(caught.value).startswith("the moon: not within 0.05 s; last seen: look ")
    assert str(caught.value) != "the moon: not within 0.05 s; last seen: look 1"


def test_pauses_grow_to_50_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    looks = iter(["no"] * 20 + [None])
    wait.until(lambda: next(looks), what="it", seconds=60)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.005, 0.05)


def test_an_error_of_the_look_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        wait.until(lambda: str(1 / 0), what="it", seconds=1)


STUCK = ("sh", "-c", "echo one; echo two >&2; exec sleep 60")


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's words about a machine with nothing to do, in files that a test may change."""
    monkeypatch.setattr(wait, "PRESSURE", tmp_path)
    monkeypatch.setattr(wait, "LOADAVG", tmp_path / "loadavg")
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 1/100 4242\n")
    for name in wait.SHARES:
        press(tmp_path, name, 0, 0)
    return tmp_path


def press(folder: Path, name: str, some: float, full: float) -> None:
    rest = "avg60=1.00 avg300=1.00 total=9"
    (folder / name).write_text(f"some avg10={some:.2f} {rest}\nfull avg10={full:.2f} {rest}\n")


def test_a_command_that_does_not_end_is_a_deadline(quiet: Path) -> None:
    with pytest.raises(DeadlineError) as caught:
        wait.for_command(STUCK, seconds=0.2)
    assert str(caught.value) == f"{' '.join(STUCK)}: not within 0.2 s; last seen: two"


def test_a_process_that_does_not_end_is_killed(quiet: Path) -> None:
    with subprocess.Popen(STUCK, stdout=subprocess.PIPE, text=True) as process:
        with pytest.raises(DeadlineError, match=r"^the visit: not within 0.2 s; last seen: one$"):
            wait.for_process(process, ["the", "visit"], 0.2)
        assert process.returncode == -9


def test_a_command_that_ends_has_its_output(quiet: Path) -> None:
    done = wait.for_command(("sh", "-c", "cat; echo b >&2; exit 3"), input="a")
    assert (done.returncode, done.stdout, done.stderr) == (3, "a", "b\n")
    with pytest.raises(FileNotFoundError):
        wait.for_command(("no-such-program",))


@pytest.mark.parametrize(
    ("name", "some", "full", "said"),
    [
        ("cpu", 96.4, 0, "a processor for 96 %"),
        ("io", 99, 71, "a disk for 71 %"),
        ("memory", 40, 12.3, "memory for 12 %"),
        ("cpu", 50, 0, ""),
        ("io", 99, 20, ""),
    ],
)
def test_a_deadline_says_whether_the_machine_was_overloaded(
    quiet: Path, name: str, some: float, full: float, said: str
) -> None:
    press(quiet, name, some, full)
    with pytest.raises(DeadlineError) as caught:
        wait.until(lambda: "no", what="it", seconds=0)
    why = f"; the machine is overloaded: work waited for {said} of the last 10 s "
    words = why + "(FOOBAR_PATIENCE=3 waits three times as long)" if said else ""
    assert str(caught.value) == f"it: not within 0 s; last seen: no{words}"


def test_the_load_speaks_where_the_kernel_tells_no_pressure(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (quiet / "loadavg").write_text("9.10 0.20 0.30 1/100 4242\n")
    assert wait.overload() == ""
    for name in wait.SHARES:
        (quiet / name).unlink()
    assert wait.overload().startswith(
        "the machine is overloaded: there was work for 9 processors, and it has 2 (FOOBAR_PATIENCE=3 "
    )
    (quiet / "loadavg").write_text("1.10 0.20 0.30 1/100 4242\n")
    assert wait.overload() == ""


def test_patience_stretches_every_deadline(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wait.PATIENCE, "3")
    with pytest.raises(DeadlineError, match=r"^it: not within 0.06 s"):
        wait.until(lambda: "no", what="it", seconds=0.02)
    with pytest.raises(DeadlineError, match=r"not within 0.15 s"):
        wait.for_command(STUCK, seconds=0.05)


@pytest.mark.parametrize("text", ["0", "0.5", "-1", "101", "nan", "inf", "soon"])
def test_patience_must_make_sense(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(wait.PATIENCE, text)
    with pytest.raises(UsageError, match=f"^FOOBAR_PATIENCE={text}: must be a number from 1 to 100$"):
        wait.until(lambda: None, what="it", seconds=1)


def escapes(source: str) -> Iterator[str]:
    """Calls that may raise TimeoutExpired, which no main expects, or wait for ever for a command's end."""
    if not any(word in source for word in ("subprocess", "communicate", ".wait(")):
        return
    module = tree(source)
    handled = {
        call
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef) and "TimeoutExpired" in ast.unparse(function)
        for call in ast.walk(function)
    }
    for call in ast.walk(module):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        waits = name.endswith(".communicate") or (name.endswith("process.wait") and bool(call.args or call.keywords))
        if name in BY_HAND or (waits and call not in handled):
            yield f"{name} in line {call.lineno}"


BY_HAND = tuple(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output"))


def test_a_command_is_waited_for_in_one_place_alone() -> None:
    files = [(path, source) for path, source in project() if path != "topo/wait.py" and not path.startswith("docs/")]
    assert [f"{path}: {call}" for path, source in files for call in escapes(source)] == []


@pytest.mark.parametrize(
    "line", ["subprocess.run(['a'], timeout=3)", "self._process.wait(3)", "process.communicate(timeout=3)"]
)
def test_a_deadline_that_escapes_would_be_seen(line: str) -> None:
    assert list(escapes(f"def f():\n    {line}"))
