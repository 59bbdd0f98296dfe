"""What all tests share: the two tiers, the golden files, and values made once."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import Rule, policy
from services.pki import KeyPair
from services.secrets import Secrets
from topo import wait
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

pytest_plugins = ("run_tests",)
PROJECT = Path(__file__).resolve().parent.parent
SERVERS = tuple(host.name for host in plan_of(Profile()).hosts if host.zone == "servers")
GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parent / "root"

# No folder of found examples: one that root has written would stop an ordinary user's tests. No deadline for an
# example: how busy the machine is says nothing about the code. The same examples each time; in the gate more of them
settings.register_profile(
    "foobar",
    database=None,
    deadline=None,
    max_examples=150 if "CI" in os.environ else 15,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("foobar")

# A shell ignores these for what is to run in the background (nohup the last of them), and what ignores them at its
# start can never ask for them
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# The garbage collector took a quarter of all work: modules, trees and packet sets stay, or go when they are let go of
gc.disable()
gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A machine with nothing to do, in the kernel's words: what a deadline says does not depend on this one's load."""
    folder = tmp_path_factory.mktemp("pressure")
    for name in wait.SHARES:
        (folder / name).write_text("some avg10=0.00\nfull avg10=0.00\n")
    (folder / "loadavg").write_text("0.10 0.20 0.30 1/100 4242\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait, "PRESSURE", folder)
        patch.setattr(wait, "LOADAVG", folder / "loadavg")
        yield folder


@pytest.fixture(autouse=True)
def unhurried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How patient the machine's owner is concerns real testbeds: what other tests wait for is part of their text."""
    if not request.node.get_closest_marker("root"):
        monkeypatch.delenv(wait.PATIENCE, raising=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the golden files anew; read the diff then")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The rootless tier need not even import root's tests, which take a second: all of that folder are marked so."""
    return True if config.option.markexpr == "not root" and collection_path == ROOT else None


def pytest_collection_finish() -> None:
    """The garbage collector need not look again and again at what stays until the end."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="boots a real testbed: needs root"))


@pytest.fixture(scope="session")
def plan() -> Plan:
    return plan_of(Profile())


@pytest.fixture(scope="session")
def rules() -> tuple[Rule, ...]:
    return policy(plan_of(Profile()))


@pytest.fixture(scope="session")
def flows(plan: Plan, rules: tuple[Rule, ...]) -> tuple[Flow, ...]:
    return compile_flows(plan, rules)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An experiment's testbed is looked at once."""
    monkeypatch.setattr("experiments.engine.runner.BEFORE_SECONDS", 0.0)
    monkeypatch.setattr("experiments.engine.runner.AFTER_SECONDS", 0.0)


def _pair(name: str) -> KeyPair:
    return KeyPair(key=f"KEY of {name}\n", certificate=f"CERTIFICATE of {name}\n")


@pytest.fixture(scope="session")
def secrets() -> Secrets:
    """Secrets that are the same in every run, for the golden files."""
    return Secrets(
        read_password="READ",
        write_password="WRITE",
        replication_password="REPLICATION",
        failover_password="FAILOVER",
        monitoring_password="MONITORING",
        session_key="SESSION",
        authority="AUTHORITY\n",
        site=KeyPair(key="KEY\n", certificate="CERTIFICATE\n"),
        balancer=_pair("balancer"),
        servers={name: _pair(name) for name in SERVERS},
        applications={name: _pair(f"app.{name}") for name in SERVERS},
        databases={name: _pair(f"db.{name}") for name in SERVERS},
        monitor=_pair("mon"),
        watched={name: _pair(f"client.{name}") for name in (*SERVERS, "lb", "dns", "mon")},
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``golden(name, text)``: the text is what tests/golden/name holds; with --regenerate it is written there."""

    def compare(name: str, text: str, folder: Path = GOLDEN) -> None:
        text = text.replace(str(PROJECT), "<project>")
        path = folder / name
        if request.config.getoption("--regenerate"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"no golden file {name}; make it with: pytest --regenerate"
        assert text == path.read_text(), f"{name} changed; if it should: pytest --regenerate, then read the diff"

    return compare


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a secret, which nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("secret")
    (folder / "secret").chmod(0o600)
    return folder
