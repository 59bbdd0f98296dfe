"""The whole suite's parts: what runs beside what, and what the exit codes of the parts come to."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("codes", "whole"),
    [([0, 0], 0), ([1, 0], 1), ([0, 1], 1), ([0, 5], 0), ([5, 0], 0), ([5, 5], 5), ([5, 1], 1), ([2], 2)],
)
def test_the_worst_part_decides(codes: list[int], whole: int) -> None:
    assert exit_code(codes) == whole


def test_an_empty_argument_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", ""]) == 64
    assert capsys.readouterr().err == "foobar test: an empty argument; is a variable not set?\n"


@pytest.mark.parametrize(("flag", "selected"), [("--beside", "test_a"), ("--alone", "test_b")])
def test_each_test_is_in_one_part(tmp_path: Path, flag: str, selected: str) -> None:
    (tmp_path / "conftest.py").write_text((PROJECT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_x.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(PROJECT / "pyproject.toml"), "--collect-only", flag]
    done = subprocess.run([*command, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line] == [selected], done.stdout


def test_a_files_tests_stay_with_one_worker(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((PROJECT / "tests" / "conftest.py").read_text())
    for name in ("x", "y"):
        (tmp_path / f"test_{name}.py").write_text("def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n")
    command = [sys.executable, "-m", "pytest", "-v", "-c", str(PROJECT / "pyproject.toml"), *parts([], 2)[0]]
    done = subprocess.run([*command, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False)
    ran = {(file, worker) for worker, file in re.findall(r"\[(gw\d)\].* PASSED .*(test_[xy])\.py", done.stdout)}
    assert sorted(file for file, _ in ran) == ["test_x", "test_y"], done.stdout
