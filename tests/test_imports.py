"""Who may import what: each heavy or privileged library has its few files; the pure core loads none of them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from syntax import tree

File = tuple[str, str]
PROJECT = Path(__file__).resolve().parent.parent
#: From the ground up: every folder, in its order; imports only go down. A file that is named here stands apart from its
#: folder: it is above the folders that it puts together.
FLOORS = (
    "topo",
    "controllers",
    "controllers/ovs",
    "controllers/verify",
    "controllers/policyfile.py",
    "controllers/requests.py",
    "controllers/blocks.py",
    "controllers/sourcecounters.py",
    "controllers/policycounters.py",
    "controllers/firewall.py",
    "services",
    "services/site",
    "services/waf",
    "services/nginx.py",
    "services/mariadb",
    "services/failover",
    "services/monitoring",
    "services/detection",
    "services/deployment.py",
    "testbed",
    "testbed/audit",
    "testbed/faults",
    "testbed/commands",
    "testbed/session.py",
    "testbed/prompt.py",
    "testbed/cli.py",
    "experiments/engine",
    "experiments/wire",
    "experiments/instruments",
    "experiments/*",
    "experiments",
    "experiments/*/__main__.py",
    "benchmarks",
    "docs",
    "tests",
)
#: still to be turned round; nothing may be added
OPEN: set[str] = set()
#: it hands over to the floors above
ENTRY = "topo/foobar.py"
PACKAGES = tuple(dict.fromkeys(floor.split("/")[0] for floor in FLOORS if floor != "tests"))

# library -> the only files (patterns) that import it
ALLOWED = {
    "mininet": ("testbed/network.py", "testbed/prompt.py"),
    "ryu": ("controllers/firewall.py",),
    "eventlet": ("controllers/firewall.py",),
    "scapy": (
        "benchmarks/sniff.py",
        "experiments/firewall_matrix/*.py",
        "experiments/firewall_mutants/*.py",
    ),
    "rich": (
        "testbed/plainconsole.py",
        "testbed/render.py",
        "testbed/terminalpage.py",
        "testbed/toppage.py",
        "experiments/engine/report.py",
        "experiments/engine/progress.py",
        "experiments/*/show.py",
        "benchmarks/table.py",
        "docs/draw.py",
    ),
    "numpy": ("experiments/instruments/search.py", "experiments/firewall_matrix/sweepframes.py"),
    "hpack": ("experiments/instruments/search.py", "experiments/wire/http2.py"),
    "matplotlib": ("experiments/engine/drawing.py",),
    "flask": ("services/site/*.py",),
    "gunicorn": ("services/site/gunicornworker.py",),
}
# importing these must load none of the libraries above (and needs no root, network or daemon)
PURE = (
    "topo.plan",
    "topo.profile",
    "topo.errors",
    "testbed.state",
    "topo.wait",
    "testbed.namespaces",
    "controllers.policy",
    "controllers.compile",
    "controllers.flow",
    "controllers.verify.explain",
    "services.deployment",
    "services.supervisor",
)


@cache
def imports(source: str) -> frozenset[str]:
    """The top-level package of everything a module imports, wherever it stands; not what only a type checker sees."""
    return frozenset(_imports(source))


def _imports(source: str) -> Iterator[str]:
    module = tree(source)
    for_types = {
        each
        for node in ast.walk(module)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for each in ast.walk(node)
    }
    for node in ast.walk(module):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and imports_by_name(node.func):
            yield from (str(each.value).split(".")[0] for each in node.args[:1] if isinstance(each, ast.Constant))


def imports_by_name(function: ast.expr) -> bool:
    """``importlib.import_module`` or ``__import__``; not by ``ast.unparse``, which takes ten times as long."""
    return getattr(function, "attr", None) == "import_module" or getattr(function, "id", None) == "__import__"


def offences(files: Iterable[File]) -> list[str]:
    """``(path, source)`` of each file -> one line for each import in the wrong place."""
    return sorted(
        f"{path} imports {library}"
        for path, source in files
        for library in imports(source) & set(ALLOWED)
        if not any(fnmatch(path, pattern) for pattern in ALLOWED[library])
    )


@cache
def project() -> tuple[File, ...]:
    return tuple(
        (str(path.relative_to(PROJECT)), path.read_text())
        for package in PACKAGES
        for path in sorted((PROJECT / package).rglob("*.py"))
    )


def test_every_import_is_where_it_may_be() -> None:
    assert len(project()) > 40
    assert offences(project()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("topo/plan.py", "import mininet.net"),
        ("testbed/testbed.py", "def f():\n    from mininet.cli import CLI"),
        ("controllers/compile.py", "from ryu.ofproto import ofproto_v1_3 as o"),
        ("services/nginx.py", "try:\n    import rich, json\nexcept ImportError: pass"),
        ("experiments/journey/experiment.py", "import importlib\nimportlib.import_module('scapy.all')"),
    ],
)
def test_an_import_in_the_wrong_place_is_seen(path: str, source: str) -> None:
    assert len(offences([(path, source)])) == 1


def test_an_import_in_the_right_place_and_a_mere_mention_are_not() -> None:
    assert offences([("testbed/network.py", "from mininet.net import Mininet")]) == []
    assert offences([("topo/plan.py", "if TYPE_CHECKING:\n    from rich.console import Console")]) == []
    assert offences([("topo/plan.py", '"""mininet"""\nx = "import ryu"\nfrom . import rich')]) == []


def test_the_pure_core_loads_no_heavy_library() -> None:
    code = f"import sys, {', '.join(PURE)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(ALLOWED) == set()


def loaded_by(words: str, state: Path) -> set[str]:
    """The packages that are not Python's own, and the folders of ours, that a command line loads."""
    code = f"from testbed import cli; cli.main(None, {words.split()}); import sys; print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "FOOBAR_STATE": str(state)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    modules = {name for name in done.stderr.split() if name.split(".")[0] not in sys.stdlib_module_names}
    return {name.split(".")[0] for name in modules} | {name.rpartition(".")[0] for name in modules}


def test_help_loads_nothing_that_is_slow_to_load(tmp_path: Path) -> None:
    """In time: 0.1 s. With the proof, rich or a service it would be three times that."""
    ours = {"topo", "testbed", "testbed.commands", "controllers"}
    assert loaded_by("--help", tmp_path) & {*ALLOWED, *FLOORS, "jinja2", "pymysql", "cryptography", "dns"} <= ours
    assert "rich" in loaded_by("status", tmp_path), "a negative control: what is loaded is seen"


def loaded_with(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules, file=sys.stderr)"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_listing_experiments_loads_nothing_that_measures_or_draws() -> None:
    """In processor time: 0.13 s; it was 0.8 s when the catalog loaded whatever they measure with."""
    slow = {*ALLOWED, "jinja2", "pymysql", "cryptography", "dns", "httpx", "msgspec", "services"}
    assert loaded_with("from experiments.__main__ import main; main(['list'])") & slow == set()
    assert "rich" in loaded_with("import experiments.journey.show"), "a negative control: what is loaded is seen"


# --- floors --------------------------------------------------------------------------------------------------------


def module(path: str) -> str:
    """A file's name when it is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def graph(files: Iterable[File]) -> dict[str, set[str]]:
    """Each file -> the files of these that it imports: at its top, inside functions, and for a type checker only."""
    listed = tuple(files)
    paths = {module(path): path for path, _ in listed}
    return {
        path: {paths[name] for name in imported(source) if name in paths and paths[name] != path}
        for path, source in listed
    }


@cache
def imported(source: str) -> frozenset[str]:
    """Every dotted name that a file imports, in whatever place: the module, or one of its names."""
    names: set[str] = set()
    for node in ast.walk(tree(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and imports_by_name(node.func):
            names |= {str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)}
    return frozenset(names)


def floor(path: str) -> int:
    """The floor of a file: where it is named itself, or its folder is, or the nearest one around it."""
    own = [number for number, place in enumerate(FLOORS) if place.endswith(".py") and fnmatch(path, place)]
    if own:
        return own[0]
    folder = path.rpartition("/")[0]
    while folder and folder not in FLOORS:
        if f"{folder.rpartition('/')[0]}/*" in FLOORS:
            return FLOORS.index(f"{folder.rpartition('/')[0]}/*")
        folder = folder.rpartition("/")[0]
    return FLOORS.index(folder)


def too_high(files: Iterable[File]) -> list[str]:
    """One line for each import of a floor above its own."""
    return sorted(
        f"{path} imports {other}"
        for path, others in graph(files).items()
        for other in others
        if path != ENTRY and other != ENTRY and floor(other) > floor(path)
    )


def cycles(imports: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups of files that import each other, by whatever way around."""
    left = dict(imports)
    while leaves := [path for path, others in left.items() if not others & left.keys()]:
        for path in leaves:
            del left[path]
    importers = {other for others in left.values() for other in others}
    while tops := [path for path in left if path not in importers]:
        for path in tops:
            del left[path]
        importers = {other for others in left.values() for other in others}
    return [tuple(sorted(left))] if left else []


def test_imports_only_go_down() -> None:
    assert set(too_high(project())) - OPEN == set()


def test_no_import_goes_round_in_a_circle() -> None:
    assert cycles(graph(project())) == []


def test_every_folder_has_its_floor() -> None:
    folders = {str(Path(path).parent) for path, _ in project()}
    assert {folder for folder in folders if not {folder, f"{Path(folder).parent}/*"} & set(FLOORS)} == set()
    named = {place for place in FLOORS if "*" not in place}
    assert all((PROJECT / place).exists() for place in named)
    assert len(FLOORS) == len(set(FLOORS))


LAZY = "def f() -> None:\n    from {} import x"
TYPED = "if TYPE_CHECKING:\n    from {} import x"


@pytest.mark.parametrize("text", ["import {}", "from {} import x", LAZY, TYPED, "importlib.import_module('{}')"])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("services/nginx.py", "testbed/box.py"),
        ("testbed/core.py", "testbed/faults/injection.py"),
        ("testbed/faults/injection.py", "testbed/cli.py"),
        ("controllers/compile.py", "controllers/firewall.py"),
        ("experiments/engine/run.py", "experiments/journey/show.py"),
        ("experiments/catalog.py", "experiments/journey/__main__.py"),
    ],
)
def test_an_import_of_a_higher_floor_is_seen(text: str, low: str, high: str) -> None:
    files = [(low, text.format(module(high))), (high, text.format(module(low)))]
    assert too_high(files) == [f"{low} imports {high}"]
    assert cycles(graph(files)) == [tuple(sorted((low, high)))]


def test_a_circle_is_seen_within_a_floor_and_nothing_else_is() -> None:
    ring = [("topo/a.py", LAZY.format("topo.b")), ("topo/b.py", TYPED.format("topo.c")), ("topo/c.py", "import topo.a")]
    around = [("topo/d.py", "from topo import a"), ("topo/e.py", ""), ("topo/f.py", "from topo import e")]
    assert too_high([*ring, *around]) == []
    assert cycles(graph([*ring, *around])) == [("topo/a.py", "topo/b.py", "topo/c.py")]
    assert cycles(graph([*ring[1:], *around])) == []


def test_a_package_is_what_its_init_imports() -> None:
    files = [("topo/p/__init__.py", "from topo import q"), ("topo/q.py", "from topo.p import x")]
    assert cycles(graph(files)) == [("topo/p/__init__.py", "topo/q.py")]


def test_only_the_entry_hands_over_to_floors_above() -> None:
    assert too_high([(ENTRY, "import testbed.cli"), ("testbed/cli.py", "")]) == []
    assert len((PROJECT / ENTRY).read_text().splitlines()) < 20
