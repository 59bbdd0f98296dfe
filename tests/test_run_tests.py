"""The whole suite's parts: what runs beside what, and what the exit codes of the parts come to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_tests import ONE_JOURNEY, exit_code, main, parts

PROJECT = Path(__file__).resolve().parent.parent
TESTS = """
import pytest

def test_a(): pass

@pytest.mark.alone
def test_b(): pass
"""


def test_the_alone_come_last_without_workers() -> None:
    beside, alone = parts(["-k", "x"], 2)
    assert beside[0] == "--numprocesses=2"
    assert beside[-2:] == ["-k", "x"]
    assert alone == ["--alone", "-k", "x"]


def test_quick_is_the_rootless_tier_and_one_journey() -> None:
    rootless, journey = parts(["--quick", "-x"], 2)
    assert rootless[-3:] == ["-m", "not root", "-x"]
    assert journey == ["-x", ONE_JOURNEY]
    assert (Path(__file__).parent.parent / ONE_JOURNEY.split("::")[0]).exists()
    assert (
        f"def {ONE_JOURNEY.split('::')[1]}(" in (Path(__file__).parent.parent / ONE_JOURNEY.split("::")[0]).read_text()
    )


def test_every_file_of_the_folder_that_the_rootless_tier_leaves_out_is_marked() -> None:
    files = list((PROJECT / "tests" / "root").glob("test_*.py"))
    assert files
    marked = re.compile(r"^pytestmark = .*\bpytest\.mark\.root\b", re.MULTILINE)
    assert [path.name for path in files if not marked.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("codes", "whole"),
    [([0, 0], 0), ([1, 0], 1), ([0, 1], 1), ([0, 5], 0), ([5, 0], 0), ([5, 5], 5), ([5, 1], 1), ([2], 2)],
)
def test_the_worst_part_decides(codes: list[int], whole: int) -> None:
    assert exit_code(codes) == whole


def test_an_empty_argument_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", ""]) == 64
    assert capsys.readouterr().err == "foobar test: an empty argument; is a variable not set?\n"


def run(folder: Path, *words: str) -> str:
    """What pytest says with the options of run_tests.py, and none of the plugins that other tests need."""
    command = [sys.executable, "-m", "pytest", "-p", "run_tests", "-p", "xdist", "-c", str(PROJECT / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # in the folder that both would share it would close other tests' folders to an ordinary user
    own = folder.with_name(f"{folder.name}-own")
    own.mkdir(exist_ok=True)
    environment["PYTEST_DEBUG_TEMPROOT"] = str(own)
    done = subprocess.run(
        [*command, *words, str(folder)], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("flag", "selected"), [("--beside", "test_a"), ("--alone", "test_b")])
def test_each_test_is_in_one_part(tmp_path: Path, flag: str, selected: str) -> None:
    (tmp_path / "test_x.py").write_text(TESTS)
    said = run(tmp_path, "-q", "--collect-only", flag)
    assert [line.split("::")[1] for line in said.splitlines() if "::" in line] == [selected], said


def test_a_files_tests_stay_with_one_worker(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / f"test_{name}.py").write_text("def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n")
    said = run(tmp_path, "-v", *parts([], 2)[0])
    ran = {(file, worker) for worker, file in re.findall(r"\[(gw\d)\].* PASSED .*(test_[xy])\.py", said)}
    assert sorted(file for file, _ in ran) == ["test_x", "test_y"], said
