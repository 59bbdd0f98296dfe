"""A name is used once: a class, and a file's basename. And what is long gets split: files, functions."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from syntax import tree

PROJECT = Path(__file__).resolve().parent.parent
#: names that mean the same wherever they stand; every experiment has the same files
SHARED = {"__init__", "__main__", "conftest", "experiment", "measure", "checks", "show", "evidence"}
MOST_LINES, MEDIAN_LINES, TENTH_LINES = 300, 8, 25
#: a docstring is a sentence that says what a thing is or does, not a question without its verb
HEADLESS = re.compile(r"(What|Who|Whom|Whose|Where|How|Whether|Which|Why)\b")
File = tuple[str, str]


@cache
def project() -> tuple[File, ...]:
    """``(path, source)`` of every Python file that belongs to the project."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=PROJECT, capture_output=True)
    paths = [PROJECT / name for name in listed.stdout.decode().split()]
    return tuple((str(path.relative_to(PROJECT)), path.read_text()) for path in paths if path.exists())


def twice(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """``(name, path)`` -> the names that stand in more than one place, with these."""
    places = defaultdict(list)
    for name, path in names:
        places[name].append(path)
    return {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}


def classes(files: Iterable[File]) -> Iterator[tuple[str, str]]:
    for path, source in files:
        yield from ((node.name, path) for node in ast.walk(tree(source)) if isinstance(node, ast.ClassDef))


def basenames(files: Iterable[File]) -> Iterator[tuple[str, str]]:
    yield from ((Path(path).stem, path) for path, _ in files if Path(path).stem not in SHARED)


def functions(files: Iterable[File]) -> list[tuple[int, str]]:
    """Lines of every function, and where it is; one inside another counts as its own."""
    return sorted(
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path}:{node.name}")
        for path, source in files
        for node in ast.walk(tree(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def headless(files: Iterable[File]) -> list[str]:
    """The docstrings that begin with a question word, each with its file."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = (
        (path, ast.get_docstring(node))
        for path, source in files
        for node in ast.walk(tree(source))
        if isinstance(node, documented)
    )
    return [f"{path}: {text.splitlines()[0]}" for path, text in docstrings if text and HEADLESS.match(text)]


def code() -> list[File]:
    return [(path, source) for path, source in project() if not path.startswith("tests/")]


def test_a_class_name_is_used_once() -> None:
    assert twice(classes(project())) == {}


def test_a_basename_is_used_once() -> None:
    assert twice(basenames(project())) == {}


def test_no_docstring_is_headless() -> None:
    assert headless(code()) == []


def test_no_file_is_long() -> None:
    lengths = {path: source.count("\n") for path, source in code()}
    assert {path for path, lines in lengths.items() if lines > MOST_LINES} == set()


def test_functions_are_short() -> None:
    lengths = [lines for lines, _ in functions(code())]
    assert statistics.median(lengths) <= MEDIAN_LINES
    assert lengths[len(lengths) * 9 // 10] <= TENTH_LINES


@pytest.mark.parametrize("second", ["class Link: ...", "def f():\n    class Link:\n        pass"])
def test_a_name_used_twice_is_seen(second: str) -> None:
    files = [("topo/plan.py", "class Link: ..."), ("services/plan.py", second), ("services/__init__.py", "")]
    assert twice(classes(files)) == {"Link": ["services/plan.py", "topo/plan.py"]}
    assert twice(basenames(files)) == {"plan": ["services/plan.py", "topo/plan.py"]}
    assert twice(basenames([*files[2:], ("topo/__init__.py", "")])) == {}


def test_lengths_are_counted() -> None:
    assert functions([("a.py", "def f():\n    x = 1\n\n    return x\n\n\nclass A:\n    def g(self): ...\n")]) == [
        (1, "a.py:g"),
        (4, "a.py:f"),
    ]


@pytest.mark.parametrize(
    "source", ['"""{}"""', 'def f():\n    """{}"""', 'class A:\n    async def g(self):\n        """{}"""']
)
def test_a_headless_docstring_is_seen(source: str) -> None:
    assert headless([("a.py", source.format("What it prints."))]) == ["a.py: What it prints."]
    assert headless([("a.py", source.format("Whatever it is.")), ("b.py", source.format("The output."))]) == []
