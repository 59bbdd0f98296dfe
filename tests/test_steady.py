"""The steady state: the rules that can be tried, what each look sees, and that a look always has an end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakePlace, FakeService, python

from controllers.policy import Rule, pairs
from services.unit import Unit
from testbed import attempts, steady
from testbed.testbed import BY_HAND, Testbed
from topo import wait
from topo.plan import Plan
from topo.profile import Profile

Rules = tuple[Rule, ...]


def names(rule: Rule, rules: Rules, plan: Plan) -> set[tuple[str, str]]:
    return {(src.name, dst.name) for src, dst in attempts.tried(rule, rules, plan)}


def test_each_rule_of_ours_that_names_one_port_is_tried_between_all_its_pairs(plan: Plan, rules: Rules) -> None:
    named = [rule for rule in rules if rule.action == "allow" and isinstance(rule.port, int)]
    assert len(named) > 5
    for rule in named:
        assert attempts.tried(rule, rules, plan) == list(pairs(rule, plan)) != []


@pytest.mark.parametrize(
    ("proto", "port"), [("any", None), ("tcp", None), ("tcp", ((80, 81),)), ("udp", 123), ("icmp", 13)], ids=str
)
def test_what_has_no_sure_answer_is_not_tried(proto: str, port: int | None, plan: Plan) -> None:
    rule = Rule("some", "client", "lb", proto, port, "allow", "")
    assert attempts.tried(rule, (rule,), plan) == []


def test_only_a_rule_that_decides_is_tried(plan: Plan) -> None:
    shut = Rule("not-srv1", "any", "srv1", "any", None, "deny", "")
    wide = Rule("wide", "client", "servers", "tcp", 80, "allow", "")
    assert names(wide, (shut, wide), plan) == {("client", "srv2"), ("client", "srv3")}
    assert names(shut, (shut, wide), plan) == set()


def test_names_are_asked_of_the_name_server_alone(plan: Plan) -> None:
    rule = Rule("names", "client", "any", "udp", 53, "allow", "")
    assert names(rule, (rule,), plan) == {("client", "dns")}


@pytest.mark.parametrize(
    ("error", "seen"),
    [(None, None), (ConnectionRefusedError("refused"), None), (TimeoutError("timed out"), "tcp/80: timed out")],
    ids=["open", "refused", "silent"],
)
def test_who_refuses_was_reached(error: OSError | None, seen: str | None, plan: Plan) -> None:
    def connect(*_: object) -> Any:
        if error:
            raise error
        return SimpleNamespace(close=nullcontext)

    rule, inside = Rule("web", "lb", "srv1", "tcp", 80, "allow", ""), SimpleNamespace(connect=connect)
    assert attempts.passes(rule, inside, plan.host("srv1")) == seen  # type: ignore[arg-type]


HEAD = "HTTP/1.1 {} whatever\r\nX-Served-By: {}\r\n\r\n"


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        (((200, "srv1"), (200, "srv2"), (200, "srv3")), None),
        (((200, "srv1"), (200, "srv1"), (200, "srv3")), "answered by {'srv1': 2, 'srv3': 1}"),
        (((500, "srv1"), (200, "srv2"), (200, "srv3")), "500 from srv1"),
        (((503, ""), (200, "srv2"), (502, "srv3")), "503 from the balancer, 502 from srv3"),
        ((), "answered by no server"),
    ],
)
def test_every_answer_of_the_site_counts_not_the_last_alone(
    answers: Any, seen: str | None, testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = "".join(HEAD.format(*answer) for answer in answers)
    client = SimpleNamespace(run=lambda *_, **__: subprocess.CompletedProcess([], 0, output, ""))
    monkeypatch.setattr(testbed, "inside", lambda _: client)
    assert attempts.site(testbed) == seen


# --- services ------------------------------------------------------------------------------------------------------

FORKS = python("import os, time; os.fork(); time.sleep(60)")


@pytest.fixture
def testbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Testbed]:
    """A testbed that was never booted, with one service, which is ready while the file /run/web.ready is there."""
    monkeypatch.setattr(Testbed, "unsampled", [])
    testbed = Testbed(Profile(monitoring="off"), tmp_path)
    testbed.supervisor.add(FakeService("web", FORKS, waits=True), FakePlace(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "web.ready").touch()
    testbed.supervisor.launch("srv1/web")
    yield testbed
    testbed.supervisor.stop_all()
    testbed.pool.shutdown()


def only_unit(testbed: Testbed) -> Unit:
    (unit,) = testbed.supervisor.units
    wait.until(lambda: None if len(unit.session.processes()) == 2 else "one", what="two processes", seconds=5)
    return unit


def seen(testbed: Testbed) -> str | None:
    return steady._process(testbed, testbed.supervisor.unit("srv1/web"))


def kill(unit: Unit, *pids: int) -> None:
    assert unit.process
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    unit.process.wait()
    wait.until(
        lambda: None if pids[-1] not in unit.session.processes() else "it lives", what="the last one ended", seconds=5
    )


def test_a_service_that_runs_is_well(testbed: Testbed) -> None:
    only_unit(testbed)
    assert seen(testbed) is None


def test_a_service_that_was_killed_by_hand_has_died_though_its_workers_serve_on(testbed: Testbed) -> None:
    unit = only_unit(testbed)
    assert unit.process
    kill(unit, unit.process.pid)
    assert unit.service.ready(unit.place) is None
    assert seen(testbed) == "died"


def test_a_service_that_was_started_again_by_hand_is_well(testbed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = only_unit(testbed)
    ready = unit.place.path("/run/web.ready")
    ready.unlink()
    kill(unit, *unit.session.processes())
    assert seen(testbed) == "died"
    ready.touch()
    assert seen(testbed) is None
    assert unit.restarted_by_hand
    monkeypatch.setattr(steady, "_talking", lambda *_: [])
    assert [row["state"] for row in testbed.status()["services"]] == [BY_HAND]


def test_a_service_that_comes_back_by_itself_is_not_taken_for_one_started_by_hand(testbed: Testbed) -> None:
    unit = only_unit(testbed)
    kill(unit, *unit.session.processes())
    unit.service.restarts = True  # type: ignore[misc]
    assert seen(testbed) == "died"


def test_a_worker_that_stands_still_is_told(testbed: Testbed) -> None:
    unit = only_unit(testbed)
    assert unit.process
    (worker,) = unit.session.processes().keys() - {unit.process.pid}
    os.kill(worker, signal.SIGSTOP)
    wait.until(lambda: None if seen(testbed) else "it runs", what="stopped", seconds=5)
    assert seen(testbed) == f"pid {worker} is stopped"


# --- the look ------------------------------------------------------------------------------------------------------


def looked(testbed: Testbed, *looks: Any, monkeypatch: pytest.MonkeyPatch, seconds: float = 5.0) -> steady.Steady:
    monkeypatch.setattr(steady, "_silent", lambda _: list(looks))
    monkeypatch.setattr(steady, "_talking", lambda *_: [])
    return testbed.look(seconds)


def test_a_look_that_hangs_is_a_problem_and_the_others_are_seen(
    testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    looks = (("slow", lambda: over.wait(30) and None), ("quick", lambda: None), ("wrong", lambda: "broken"))
    began = time.monotonic()
    result = looked(testbed, *looks, monkeypatch=monkeypatch, seconds=0.05)
    over.set()
    assert time.monotonic() - began < 5
    assert result.reasons == ["slow: no answer within 0.05 s", "wrong: broken"]


def test_what_cannot_be_looked_at_is_not_steady(testbed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str | None:
        raise OSError("no such device")

    assert looked(testbed, ("links", fail), monkeypatch=monkeypatch).problems == "links: no such device"
    assert not looked(testbed, monkeypatch=monkeypatch).holds, "nothing was looked at"


def test_status_looks_now_and_says_when(testbed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, str | None] = {"seen": None}
    monkeypatch.setattr(steady, "_silent", lambda _: [("link", lambda: state["seen"])])
    monkeypatch.setattr(steady, "_talking", lambda *_: [])
    before = datetime.now(timezone.utc)
    first = testbed.status()
    assert 0 <= (datetime.fromisoformat(first["looked"]) - before).total_seconds() + 0.001 < 5
    state["seen"] = "down"
    second = testbed.status()
    state["seen"] = None
    assert [answer["steady"] for answer in (first, second, testbed.status())] == [True, False, True]
    assert second["problems"] == ["link: down"]
    assert first["looked"] <= second["looked"]


def test_a_fault_or_an_overlay_that_stands_is_a_reason(testbed: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed.links, "down", list)
    overlay = SimpleNamespace(name="fence srv1")
    monkeypatch.setattr(type(testbed.overlays), "standing", property(lambda _: (overlay,)))
    with testbed.active_faults.noted("cut srv3 fw3"):
        reasons = steady.Steady(steady._asked(steady._silent(testbed), 5.0)).reasons
    assert "faults in force: cut srv3 fw3" in reasons
    assert "overlays in force: fence srv1" in reasons


def test_while_an_experiment_measures_nothing_is_sent_and_nothing_called_steady(
    testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(*_: object) -> Any:
        raise AssertionError("a measurement would see it")

    monkeypatch.setattr(steady, "_silent", lambda _: [])
    monkeypatch.setattr(steady, "_talking", sent)
    testbed.measured = "journey"
    assert testbed.look().reasons == ["experiment: journey is measured: nothing was tried that it could see"]
    monkeypatch.setattr(steady, "_talking", lambda *_: [("rules", lambda: "asked")])
    assert testbed.look(own=True).reasons == ["rules: asked"]


def test_a_full_disk_is_named_with_its_host(testbed: Testbed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(testbed, "inside", lambda _: SimpleNamespace(path=lambda _: tmp_path))
    assert steady._full_disks(testbed) is None
    room = os.statvfs(tmp_path)
    empty = os.statvfs_result((*room[:4], 0, *room[5:]))
    monkeypatch.setattr("testbed.steady.os.statvfs", lambda _: empty)
    assert steady._full_disks(testbed) == "client:/run is full"


@pytest.mark.parametrize(
    ("noted", "seen"),
    [
        ({"primary": "srv1", "settled": True}, None),
        ({"primary": "srv1", "settled": False}, "not settled: the primary is srv1"),
        ({}, "not settled: the primary is not known"),
        ({"primary": "srv1", "settled": True, "problems": ["srv3 cannot rejoin: more"]}, "srv3 cannot rejoin: more"),
    ],
)
def test_what_the_failover_manager_cannot_mend_is_a_reason(
    noted: Any, seen: str | None, testbed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.failover.manager.noted", lambda _: noted)
    monkeypatch.setattr(testbed, "inside", lambda _: None)
    assert steady._failover(testbed) == seen
