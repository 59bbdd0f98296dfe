"""The documents stay true: every file is listed, every link leads somewhere, every command named exists."""

from __future__ import annotations

import argparse
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import catalog
from docs import draw
from topo import foobar, policies
from topo.plan import Plan
from topo.profile import MAX_SERVERS, Profile, add_flags

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("topo", "controllers", "services", "experiments", "benchmarks")
README, ARCHITECTURE = PROJECT / "README.md", PROJECT / "docs" / "architecture.md"
PAGES = sorted([README, PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")])

LISTED = re.compile(r"^\* `([\w./]+\.(?:py|sh))` - ", re.M)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.M)
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
# what is typed: the first words of a line in a block, or a whole `code span`
SPAN = re.compile(r"`([^`\n]+)`")
TYPED = re.compile(r"^(?:\$ |mininet> )?(?:sudo )?(?:\.venv/bin/)?((?:\./foobar|python -m)(?: .*)?)$")


# --- the list of files ---------------------------------------------------------------------------------------------


def modules(project: Path) -> list[str]:
    found = [path for package in PACKAGES for path in (project / package).rglob("*") if path.suffix in (".py", ".sh")]
    return sorted(str(path.relative_to(project)) for path in found)


def wrong_in_list(text: str, there: Iterable[str]) -> list[str]:
    """What is missing in, superfluous in, or more than once in architecture.md's list of files."""
    listed = Counter(name for name in LISTED.findall(text) if name.split("/")[0] in PACKAGES)
    existing = set(there)
    return sorted(
        [f"{name} is not listed" for name in existing - set(listed)]
        + [f"{name} does not exist" for name in set(listed) - existing]
        + [f"{name} is listed {times} times" for name, times in listed.items() if times > 1]
    )


def test_every_file_is_listed_once() -> None:
    assert len(modules(PROJECT)) > 80
    assert wrong_in_list(ARCHITECTURE.read_text(), modules(PROJECT)) == []


def test_a_wrong_list_is_seen() -> None:
    text = "* `topo/a.py` - one.\n* `topo/b.py` - two.\n* `topo/b.py` - again.\nBut `topo/c.py` in a sentence.\n"
    assert wrong_in_list(text, ["topo/b.py", "topo/c.py"]) == [
        "topo/a.py does not exist",
        "topo/b.py is listed 2 times",
        "topo/c.py is not listed",
    ]


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
    if module == "experiments" and rest and rest[0] not in _commands("experiments/__main__.py"):
        return f"no command {rest[0]} of experiments"
    if module == "benchmarks":
        return next((f"no benchmark {word}" for word in rest if word.isalpha() and word not in BENCHMARKS), None)
    if module == "docs.draw":
        return next((f"no picture {word}" for word in rest if word not in draw.PICTURES), None)
    return None


def _wrong_in_foobar(words: list[str]) -> str | None:
    if words and words[0] != "test" and not words[0].startswith("-") and words[0] not in _commands("topo/foobar.py"):
        return f"no command {words[0]} of foobar"
    own = words[: words.index("--")] if "--" in words else words
    flags = [word for word in own if word.startswith("--") and word != "--"]
    return next((f"no flag {flag}" for flag in flags if flag not in _flags()), None) if "test" not in words else None


def _commands(source: str) -> set[str]:
    """The names in a command line's table of commands."""
    table = re.search(r"commands = \{(.*?)\}", (PROJECT / source).read_text(), re.S)
    assert table, f"{source} has no table of commands"
    return set(re.findall(r'"(\w+)":', table[1]))


def _flags() -> set[str]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    axes = {option for action in parser._actions for option in action.option_strings}
    sources = "".join(Path(str(each.__file__)).read_text() for each in (foobar, policies))
    return axes | set(re.findall(r'add_argument\(\s*"(--\w+)"', sources))


BENCHMARKS = {each.name for each in catalog.BENCHMARKS}
# the recipes' own examples are not there yet
INVENTED = {"NAME", "connect", "gate", "admin", "experiments.gate"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_named_exists(page: Path) -> None:
    commands = [words for words in typed(page.read_text()) if not INVENTED & set(words)]
    assert [(words, problem) for words in commands if (problem := wrong_in_command(words))] == []


def test_the_readme_names_all_commands() -> None:
    commands = list(typed(README.read_text()))
    assert len(commands) > 20
    named = {words[1] for words in commands if words[0] == "./foobar" and len(words) > 1}
    assert named >= _commands("topo/foobar.py") | {"test"}
    assert {words[3] for words in commands if words[2:3] == ["experiments"]} >= {
        "list",
        "run",
        "judge",
        "report",
        "compare",
    }


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


def test_the_picture_of_the_topology_is_the_plans(plan: Plan) -> None:
    drawn = draw.topology()
    assert (draw.IMAGES / "topology.svg").read_text() == drawn, "make it anew: python -m docs.draw topology"
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
