"""Who may import what: each heavy or privileged library has its few files; the pure core loads none of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("topo", "controllers", "services", "experiments", "benchmarks")

# library -> the only files (patterns) that import it
ALLOWED = {
    "mininet": ("topo/network.py", "topo/cli.py"),
    "ryu": ("controllers/firewall.py",),
    "eventlet": ("controllers/firewall.py",),
    "scapy": (
        "benchmarks/sniff.py",
        "experiments/*capture*.py",
        "experiments/firewall/*.py",
    ),
    "rich": (
        "topo/screen.py",
        "experiments/report.py",
        "experiments/progress.py",
        "experiments/timeline.py",
        "experiments/exposure/matrix.py",
        "experiments/firewall/matrix.py",
        "benchmarks/table.py",
    ),
    "numpy": ("experiments/needles.py", "experiments/firewall/frames.py"),
    "hpack": ("experiments/forms.py", "experiments/http2.py"),
    "matplotlib": ("experiments/drawing.py",),
    "flask": ("services/site/*.py",),
    "gunicorn": ("services/site/worker.py",),
}
# importing these must load none of the libraries above (and needs no root, network or daemon)
PURE = (
    "topo.plan",
    "topo.profile",
    "topo.errors",
    "topo.state",
    "topo.wait",
    "topo.namespaces",
    "controllers.policy",
    "controllers.compile",
    "controllers.flow",
    "controllers.explain",
    "services.catalog",
    "services.supervisor",
)


@cache
def imports(source: str) -> frozenset[str]:
    """The top-level package of everything a module imports, wherever it stands; not what only a type checker sees."""
    return frozenset(_imports(source))


def _imports(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    for_types = {
        each
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for each in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield from (str(each.value).split(".")[0] for each in node.args[:1] if isinstance(each, ast.Constant))


def offences(files: Iterable[tuple[str, str]]) -> list[str]:
    """``(path, source)`` of each file -> one line for each import in the wrong place."""
    return sorted(
        f"{path} imports {library}"
        for path, source in files
        for library in imports(source) & set(ALLOWED)
        if not any(fnmatch(path, pattern) for pattern in ALLOWED[library])
    )


def project() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(PROJECT)), path.read_text())
        for package in PACKAGES
        for path in sorted((PROJECT / package).rglob("*.py"))
    ]


def test_every_import_is_where_it_may_be() -> None:
    assert len(project()) > 40
    assert offences(project()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("topo/plan.py", "import mininet.net"),
        ("topo/testbed.py", "def f():\n    from mininet.cli import CLI"),
        ("controllers/compile.py", "from ryu.ofproto import ofproto_v1_3 as o"),
        ("services/nginx.py", "try:\n    import rich, json\nexcept ImportError: pass"),
        ("experiments/journey.py", "import importlib\nimportlib.import_module('scapy.all')"),
    ],
)
def test_an_import_in_the_wrong_place_is_seen(path: str, source: str) -> None:
    assert len(offences([(path, source)])) == 1


def test_an_import_in_the_right_place_and_a_mere_mention_are_not() -> None:
    assert offences([("topo/network.py", "from mininet.net import Mininet")]) == []
    assert offences([("topo/plan.py", "if TYPE_CHECKING:\n    from rich.console import Console")]) == []
    assert offences([("topo/plan.py", '"""mininet"""\nx = "import ryu"\nfrom . import rich')]) == []


def test_the_pure_core_loads_no_heavy_library() -> None:
    code = f"import sys, {', '.join(PURE)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(ALLOWED) == set()


def test_no_part_depends_on_one_that_is_built_upon_it() -> None:
    """plan <- policy <- services <- testbed <- experiments <- benchmarks; tests are imported by nobody."""
    above = {
        "controllers": {"services", "experiments", "benchmarks"},
        "services": {"experiments", "benchmarks"},
        "experiments": {"benchmarks"},
    }
    found = [
        f"{path} imports {name}"
        for path, source in project()
        for name in imports(source) & (above.get(path.split("/")[0], set()) | {"tests"})
    ]
    assert found == []
