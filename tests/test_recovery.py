"""What is started again in the background, and fails, is told: with the status, and by the steady state."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakePlace, FakeService, python
from rich.console import Console

from testbed import databases, recovery, render, steady
from testbed.core import CONTROLLER_ID
from testbed.testbed import Testbed
from topo import wait
from topo.errors import RefusedError
from topo.profile import Profile

DIES = python("raise SystemExit(7)")
Start = Callable[..., Testbed]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """``start("db")``: a testbed with that service alone, on srv1."""
    testbeds: list[Testbed] = []

    def make(name: str) -> Testbed:
        testbed = Testbed(Profile(), tmp_path)
        testbed.supervisor.add(FakeService(name, waits=True), FakePlace(tmp_path))
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / f"{name}.ready").touch()
        testbed.supervisor.launch(f"srv1/{name}")
        testbeds.append(testbed)
        return testbed

    yield make
    for testbed in testbeds:
        testbed.supervisor.stop_all()
        testbed.pool.shutdown()


def seen_by_the_steady_state(testbed: Testbed, service_id: str) -> str | None:
    return steady._process(testbed, testbed.supervisor.unit(service_id))


def test_a_database_at_the_power_switch_is_started_again(start: Start) -> None:
    testbed = start("db")
    unit = testbed.supervisor.unit("srv1/db")
    before = unit.process
    recovery.cycle_database(testbed, "srv1")
    testbed.pool.shutdown(wait=True)
    assert (unit.state, unit.process is before, testbed.failures) == ("ready", False, {})


def test_a_relaunch_that_fails_is_told(start: Start) -> None:
    testbed = start("db")
    unit = testbed.supervisor.unit("srv1/db")
    unit.service._command = DIES  # type: ignore[attr-defined]
    unit.place.path("/run/db.ready").unlink()
    recovery.cycle_database(testbed, "srv1")
    testbed.pool.shutdown(wait=True)
    line = "not started again: srv1/db died while starting (exit status 7)"
    assert testbed.failures == {"srv1/db": line}
    assert seen_by_the_steady_state(testbed, "srv1/db") == f"died: {line}"
    console = Console(width=120, file=io.StringIO())
    empty = {name: [] for name in ("services", "faults", "overlays", "unsampled", "alerts", "monitoring")}
    looked = steady.Steady((steady.Check("srv1/db", seen_by_the_steady_state(testbed, "srv1/db")),)).as_dict()
    console.print(render.services({**empty, **looked, "datapath": "user"}))
    assert f"srv1/db: died: {line}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_failure_is_forgotten_when_it_is_started_again(start: Start) -> None:
    testbed = start("db")
    testbed.failures["srv1/db"] = "not started again: for the test"
    recovery.restart(testbed, "srv1/db")
    assert testbed.failures == {}


def test_a_database_without_power_is_not_cycled(start: Start) -> None:
    testbed = start("db")
    testbed.powerless["srv1"] = []
    with pytest.raises(RefusedError, match=r"^srv1 has no power$"):
        recovery.cycle_database(testbed, "srv1")


def test_the_watch_survives_what_goes_wrong_and_tells_of_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also looks after Open vSwitch: without it nothing would be said when that dies."""
    testbed = start("ovs-vswitchd")
    monkeypatch.setattr(recovery, "INFRASTRUCTURE", ("srv1/ovs-vswitchd",))
    monkeypatch.setattr(recovery, "WATCH_SECONDS", 0.001)

    def fail() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(testbed.supervisor, "revive", fail)
    said: list[str] = []
    watching = threading.Thread(target=recovery.watch, args=(testbed, said.append), daemon=True)
    watching.start()
    wait.until(lambda: None if testbed.failures else "nothing yet", what="a failure", seconds=5)
    assert testbed.failures == {CONTROLLER_ID: "not started again: no space left"}
    unit = testbed.supervisor.unit("srv1/ovs-vswitchd")
    assert unit.process
    unit.process.kill()
    watching.join(5)
    assert said == ["srv1/ovs-vswitchd died: the network is gone, so the testbed ends"]


def test_a_cluster_without_a_writer_has_no_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testbed = Testbed(Profile(db="galera"), tmp_path)
    monkeypatch.setattr(testbed, "inside", lambda _: None)
    monkeypatch.setattr("services.haproxy.writer", lambda _: None)
    with pytest.raises(RefusedError, match=r"^the balancer has no server of the cluster that takes writes$"):
        databases.primary(testbed)
    monkeypatch.setattr("services.haproxy.writer", lambda _: "srv2")
    assert databases.primary(testbed) == "srv2"
