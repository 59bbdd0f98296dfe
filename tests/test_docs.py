"""The documents stay true: every file is listed, every link leads somewhere, every command named exists."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from shutil import which
from xml.etree import ElementTree

import pytest
from syntax import tree

from benchmarks import suite
from docs import draw, manual
from experiments import __main__ as experiments
from experiments.catalog import EXPERIMENTS
from testbed import cli
from testbed.commands import commandlist
from testbed.commands.suggestions import verbs_of
from topo.plan import Plan
from topo.profile import MAX_SERVERS, Profile

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("topo", "controllers", "services", "testbed", "experiments", "benchmarks")
README, ARCHITECTURE = PROJECT / "README.md", PROJECT / "docs" / "architecture.md"
PAGES = sorted([README, PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")])

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
# what is typed: the first words of a line in a block, or a whole `code span`
SPAN = re.compile(r"`([^`\n]+)`")
TYPED = re.compile(r"^(?:\$ |mininet> )?(?:sudo )?(?:\.venv/bin/)?((?:\./foobar|python -m)(?: .*)?)$")


# --- the list of files ---------------------------------------------------------------------------------------------

BESIDE = """\
## Beside the packages

* `foobar` - the launcher: sets up what is missing, then runs the testbed or the tests.
* `vagrant/provision.sh` - installs what is missing; `vagrant/constraints.txt` pins the versions; `vagrant/Vagrantfile`
  makes a machine.
* `docs/draw.py` - draws the README's pictures; `docs/manual.py` writes the manual page `docs/foobar.1`.
"""


def sentence(path: Path) -> str:
    """A file's first sentence about itself: of a docstring, or of the comment at the top of a script."""
    text = path.read_text()
    if path.suffix == ".py":
        about = (ast.get_docstring(tree(text)) or "").split("\n\n")[0]
    else:
        lines = [line.removeprefix("#").strip() for line in text.splitlines()[1:]]
        about = " ".join(list(takewhile(bool, lines)))
    return re.split(r"(?<=\.)\s|:\s*$", " ".join(about.split()))[0]


def whats_here(project: Path, packages: Iterable[str]) -> str:
    """The page that tells of every file, folder by folder."""
    parts = [
        "# What's here\n\nMade from the files' own docstrings: `python -m pytest tests/test_docs.py --regenerate`.\n"
    ]
    for package in packages:
        files = [path for path in sorted((project / package).rglob("*")) if path.suffix in (".py", ".sh")]
        for folder in sorted({path.parent for path in files}):
            own = [path for path in files if path.parent == folder]
            about = next((sentence(path) for path in own if path.name == "__init__.py"), "")
            rows = [f"* `{path.name}` - {sentence(path)}" for path in own if path.name != "__init__.py"]
            parts.append("\n".join([f"## {folder.relative_to(project)}/", "", about, "", *rows, ""]))
    return "\n".join([*parts, BESIDE])


def test_every_file_is_told_of(golden: Callable[..., None]) -> None:
    golden("whats-here.md", whats_here(PROJECT, PACKAGES), folder=PROJECT / "docs")


def test_the_sentence_is_the_files_own(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "__init__.py").write_text('"""A package. More."""\n')
    (tmp_path / "p" / "a.py").write_text('"""What it\nis: this. Then why.\n\nMore.\n"""\n')
    (tmp_path / "p" / "b.sh").write_text("#!/bin/sh\n# Does it.\n# And more.\n\nset -e\n")
    page = whats_here(tmp_path, ["p"])
    assert "## p/\n\nA package.\n\n* `a.py` - What it is: this.\n* `b.sh` - Does it.\n" in page


def test_the_manual_is_made_from_the_commands(golden: Callable[..., None]) -> None:
    golden("foobar.1", manual.manual(), folder=PROJECT / "docs")


def test_the_manual_says_nothing_that_groff_does_not_understand() -> None:
    groff = which("groff")
    if not groff:
        pytest.skip("groff is not installed")
    command = [groff, "-man", "-Tutf8", "-ww", "-z", str(PROJECT / "docs" / "foobar.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# --- links ---------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The names that headings are reached by."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(FENCE.sub("", text)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> Iterator[str]:
    """Relative links of a page that lead to no file, or to no heading of it."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{page.name}: {link}: no such file"
        elif anchor and anchor not in anchors(target.read_text()):
            yield f"{page.name}: {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing's name\n[a](gone.md) [b](#two) [c](#one-things-name) [d](https://x.example/) [e](page.md#three)\n"
        "```\n# two\n[f](fenced.md)\n```\n"
    )
    assert list(dead_links(page)) == [
        "page.md: gone.md: no such file",
        "page.md: #two: no such heading",
        "page.md: page.md#three: no such heading",
    ]


# --- decisions -----------------------------------------------------------------------------------------------------

DECISION = re.compile(r"^\*\*(?:(\d+)\. )?", re.M)


def misnumbered(page: str) -> list[str]:
    """The bold beginnings of paragraphs that do not bear the next number."""
    begins = [(entry[1], page[entry.start() :].split("\n")[0]) for entry in DECISION.finditer(page)]
    return [line for place, (number, line) in enumerate(begins, start=1) if number != str(place)]


def test_decisions_are_numbered_in_their_order() -> None:
    page = (PROJECT / "docs" / "decisions.md").read_text()
    assert len(DECISION.findall(page)) > 100
    assert misnumbered(page) == []
    paragraphs = [part for part in page.split("\n\n")[2:] if not part.startswith("#")]
    assert [part for part in paragraphs if len(DECISION.findall(part)) != 1] == [], "one paragraph for each entry"


def test_a_wrong_number_is_seen() -> None:
    page = "# D\n\n**1. One.** A.\n\n**3. Three.** B **c**.\n\n**No number.** C.\n"
    assert misnumbered(page) == ["**3. Three.** B **c**.", "**No number.** C."]
    assert misnumbered("**1. One.**\n\n**2. Two.**\n") == []


# --- commands ------------------------------------------------------------------------------------------------------


def typed(text: str) -> Iterator[list[str]]:
    """Every command of ours that a page shows, in blocks and in code spans, as words."""
    lines = [line for fence in FENCE.findall(text) for line in fence.splitlines()]
    for piece in [*lines, *SPAN.findall(FENCE.sub("", text))]:
        # in a block, what it does stands behind some spaces or a #
        if found := TYPED.match(re.split(r" {2,}|\s#| </", piece.strip())[0]):
            yield shlex.split(found[1])


def wrong_in_command(words: list[str]) -> str | None:
    """What of a command does not exist: module, subcommand or flag; None when all does."""
    if words[0] == "./foobar":
        return _wrong_in_foobar(words[1:])
    module, rest = words[2], words[3:]
    if module == "topo.foobar":
        return _wrong_in_foobar(rest)
    if module.split(".")[0] in (*PACKAGES, "docs") and find_spec(module) is None:
        return f"no module {module}"
    if module == "experiments" and rest and rest[0] not in experiments.COMMANDS:
        return f"no command {rest[0]} of experiments"
    if module == "benchmarks":
        return next((f"no benchmark {word}" for word in rest if word.isalpha() and word not in BENCHMARKS), None)
    if module == "docs.draw":
        return next((f"no picture {word}" for word in rest if word not in draw.PICTURES), None)
    return None


def _wrong_in_foobar(words: list[str]) -> str | None:
    if words and words[0] != "test" and not words[0].startswith("-") and words[0] not in COMMANDS:
        return f"no command {words[0]} of foobar"
    own = words[: words.index("--")] if "--" in words else words
    flags = [word for word in own if word.startswith("--") and word != "--"]
    return next((f"no flag {flag}" for flag in flags if flag not in _flags()), None) if "test" not in words else None


def _flags() -> set[str]:
    parsers: list[argparse.ArgumentParser] = [cli.boot_parser(), commandlist.parser(at_prompt=False)]
    for parser in parsers:
        parsers += verbs_of(parser).values()
    return {option for parser in parsers for action in parser._actions for option in action.option_strings}


COMMANDS = set(commandlist.available(at_prompt=False))
BENCHMARKS = {each.name for each in suite.BENCHMARKS}
# the recipes' own examples are not there yet
INVENTED = {"NAME", "connect", "connections", "gate", "admin", "experiments.gate"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_named_exists(page: Path) -> None:
    commands = [words for words in typed(page.read_text()) if not INVENTED & set(words)]
    assert [(words, problem) for words in commands if (problem := wrong_in_command(words))] == []


def test_the_readme_names_all_commands() -> None:
    commands = list(typed(README.read_text()))
    assert len(commands) > 20
    named = {words[1] for words in commands if words[0] == "./foobar" and len(words) > 1}
    assert named >= COMMANDS | {"test"}
    assert {words[3] for words in commands if words[2:3] == ["experiments"]} >= {
        "list",
        "run",
        "judge",
        "report",
        "compare",
    }


def test_every_experiment_has_its_page_and_its_line_in_the_readme() -> None:
    names = {experiment.name for experiment in EXPERIMENTS}
    assert {page.stem for page in (PROJECT / "docs" / "experiments").glob("*.md")} == names
    assert {words[4] for words in typed(README.read_text()) if words[2:4] == ["experiments", "run"]} >= names


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("./foobar", None),
        ("./foobar up --detach --name a", None),
        ("./foobar exec client -- curl --fail x", None),
        ("./foobar test tests/x.py --maxfail 1", None),
        ("./foobar launch", "no command launch of foobar"),
        ("./foobar up --deatch", "no flag --deatch"),
        ("python -m topo.foobar --colour red", "no flag --colour"),
        ("python -m topo.gone", "no module topo.gone"),
        ("python -m experiments campare a b", "no command campare of experiments"),
        ("python -m benchmarks boots --json", "no benchmark boots"),
        ("python -m docs.draw cats", "no picture cats"),
    ],
)
def test_a_wrong_command_is_seen(command: str, wrong: str | None) -> None:
    environment = command.replace("python", ".venv/bin/python")
    page = f"Type\n\n```\n$ sudo {command}   # what it does\n{environment}\n```\n\nor `{command}`.\n"
    assert [wrong_in_command(words) for words in typed(page)] == [wrong] * 3


def test_every_axis_and_value_is_in_the_readme() -> None:
    rows = dict(re.findall(r"^\| `--(\w+)` \| (.*) \|$", README.read_text(), re.M))
    for axis, field in Profile.__dataclass_fields__.items():
        today, _, to_come = rows[axis].partition(" | ")
        if axis == "servers":
            assert f"1 to {MAX_SERVERS}" in today
            continue
        for value in field.metadata["values"]:
            assert f"`{value}`" in (to_come if value in field.metadata["later"] else today), f"--{axis} {value}"
    assert set(rows) == set(Profile.__dataclass_fields__)


def test_the_error_tree_is_the_modules_own() -> None:
    import topo.errors

    drawn = re.search(r"```\n(FoobarError.*?)```", ARCHITECTURE.read_text(), re.S)
    assert drawn
    assert topo.errors.__doc__
    assert all(line in topo.errors.__doc__ for line in drawn[1].splitlines())


# --- pictures ------------------------------------------------------------------------------------------------------


def test_the_picture_of_the_topology_is_the_plans(plan: Plan, golden: Callable[..., None]) -> None:
    drawn = draw.topology()
    golden("topology.svg", drawn, folder=draw.IMAGES)
    assert all(f">{host.name}<" in drawn and f">{host.ip}<" in drawn for host in plan.hosts)
    assert draw.topology(Profile(servers=5)) != drawn


@pytest.mark.parametrize("servers", [1, 7])
def test_the_picture_can_be_drawn_of_other_plans(servers: int) -> None:
    ElementTree.fromstring(draw.topology(Profile(servers=servers)))


@pytest.mark.parametrize("name", draw.PICTURES)
def test_a_picture_stands_alone(name: str) -> None:
    text = (draw.IMAGES / f"{name}.svg").read_text()
    ElementTree.fromstring(text)
    assert re.findall(r"(?:href|src)=|url\((?!#)", text) == [], "loads something from elsewhere"


def test_of_what_was_drawn_live_the_last_remains() -> None:
    live = "\x1b[?25lfirst\n\x1b[1A\x1b[2K\x1b[1msecond\x1b[0m\n\x1b[?25h\x1b[32mmap\x1b[0m\n"
    picture = draw.terminal(live, "title")
    assert "second" in picture
    assert "map" in picture
    assert "first" not in picture
    assert "@font-face" not in picture
