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
#: from the ground up: imports only go down
FLOORS = ("topo", "controllers", "services", "testbed", "experiments", "benchmarks")
#: it hands over to the floors above
ENTRY = "topo/foobar.py"

# library -> the only files (patterns) that import it
ALLOWED = {
    "mininet": ("testbed/network.py", "testbed/prompt.py"),
    "ryu": ("controllers/firewall.py",),
    "eventlet": ("controllers/firewall.py",),
    "scapy": (
        "benchmarks/sniff.py",
        "experiments/firewall_matrix/*.py",
        "experiments/firewall_mutants/*.py",
        "experiments/instruments/packetsockets.py",
        "experiments/instruments/sender.py",
    ),
    "rich": (
        "testbed/render.py",
        "experiments/engine/report.py",
        "experiments/engine/progress.py",
        "experiments/journey/show.py",
        "experiments/tls_exposure/show.py",
        "experiments/firewall_matrix/show.py",
        "benchmarks/table.py",
    ),
    "numpy": ("experiments/instruments/patterns.py", "experiments/firewall_matrix/sweepframes.py"),
    "hpack": ("experiments/instruments/encodings.py", "experiments/wire/http2.py"),
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
        for package in FLOORS
        for path in sorted((PROJECT / package).rglob("*.py"))
    ]


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


def too_high(files: Iterable[tuple[str, str]]) -> list[str]:
    """``(path, source)`` of each file -> one line for each import of a floor above its own, or of tests."""
    return sorted(
        f"{path} imports {name}"
        for path, source in files
        for name in imports(source) & {*FLOORS[FLOORS.index(path.split("/")[0]) + 1 :], "tests"}
        if path != ENTRY
    )


def test_imports_only_go_down() -> None:
    assert too_high(project()) == []
    assert too_high([("services/nginx.py", "from testbed import box"), (ENTRY, "import testbed.cli")]) == [
        "services/nginx.py imports testbed"
    ]
