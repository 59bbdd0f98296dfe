"""Disturbances: what is done to a testbed by hand is noted, however it is done, and nothing that it does itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakePlace, FakeService, python

from controllers.overlay import block, fence
from services.supervisor import Supervisor
from testbed import disturbancewatch
from testbed.commands import command
from testbed.disturbances import SEEN, Disturbances
from testbed.disturbancewatch import DisturbanceWatch
from topo import wait
from topo.errors import FoobarError, RefusedError, UsageError
from topo.plan import Plan

ENDS_IN_ORDER = python(
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit()); print(flush=True); time.sleep(60)"
)


# --- requests ------------------------------------------------------------------------------------------------------


def noted(testbed: Any, since: float = 0.0) -> list[tuple[str, str]]:
    return [(noted.who, noted.what) for noted in testbed.disturbances.since(since)]


def ask(do: Callable[..., Any], **arguments: Any) -> Any:
    testbed = SimpleNamespace(disturbances=Disturbances())
    asked = command.handlers(testbed, {"apply": command.ChangeRequest(do), "look": do}, "another terminal")  # type: ignore[arg-type]
    return testbed, asked


def test_a_request_that_changes_something_is_noted_by_its_words() -> None:
    testbed, asked = ask(lambda _, text, name: {"changes": []})
    asked["apply"](text="rule\n" * 100, name="my.policy")
    assert noted(testbed) == [("another terminal", "apply my.policy")]


def test_one_that_only_reads_is_not() -> None:
    testbed, asked = ask(lambda _: {"steady": True})
    asked["look"]()
    assert noted(testbed) == []


def test_one_that_had_nothing_to_do_is_not() -> None:
    testbed, asked = ask(lambda _, number: [])
    asked["apply"](number=None)
    assert noted(testbed) == []


@pytest.mark.parametrize(("error", "count"), [(UsageError, 0), (RefusedError, 0), (FoobarError, 1), (OSError, 1)])
def test_one_that_was_refused_changed_nothing_one_that_failed_may_have(error: type[Exception], count: int) -> None:
    def fail(_: Any) -> None:
        raise error("no")

    testbed, asked = ask(fail)
    with pytest.raises(error):
        asked["apply"]()
    assert len(noted(testbed)) == count


def test_one_that_began_before_and_ended_meanwhile_counts_one_that_was_over_does_not() -> None:
    testbed = SimpleNamespace(disturbances=Disturbances())
    began: list[float] = []
    testbed.disturbances.request("", "over", lambda: None)
    testbed.disturbances.request("", "under way", lambda: began.append(time.time() + 1e-6) or time.sleep(1e-4))
    assert noted(testbed, began[0]) == [("", "under way")]


# --- daemons -------------------------------------------------------------------------------------------------------


@pytest.fixture
def testbed(tmp_path: Path) -> Iterator[Any]:
    """``testbed.run(command)``: its only service is a process that does that; links and flows are as they must be."""
    bed = SimpleNamespace(disturbances=Disturbances(), plan=SimpleNamespace(switches=()))
    bed.links = SimpleNamespace(disturbed=dict)
    bed.active_faults = SimpleNamespace(status=list)
    bed.overlays = SimpleNamespace(standing=())
    bed.supervisor = Supervisor(bereaved=lambda what: bed.disturbances.note(SEEN, what))

    def run(argv: tuple[str, ...] = ("sleep", "60")) -> Any:
        bed.supervisor.add(FakeService("web", argv), FakePlace(tmp_path))
        bed.supervisor.launch("srv1/web")
        return bed.supervisor.unit("srv1/web")

    bed.run = run
    yield bed
    bed.supervisor.stop_all()


def wait_ended(unit: Any) -> None:
    wait.until(lambda: None if not unit.runs else "it runs", what="its end", seconds=5)


@pytest.mark.parametrize(
    ("argv", "number", "words"),
    [
        (("sleep", "60"), signal.SIGKILL, "signal SIGKILL"),
        (("sleep", "60"), signal.SIGTERM, "signal SIGTERM"),
        (ENDS_IN_ORDER, signal.SIGTERM, "exit status 0"),
    ],
    ids=["killed", "asked to end", "asked to end, in order"],
)
def test_a_daemon_that_was_ended_by_hand_is_noted_once(
    argv: tuple[str, ...], number: int, words: str, testbed: Any, tmp_path: Path
) -> None:
    unit = testbed.run(argv)
    if argv is ENDS_IN_ORDER:
        log = unit.place.path(unit.service.output)
        wait.until(lambda: None if log.stat().st_size else "not yet", what="its handler", seconds=5)
    os.kill(unit.process.pid, number)
    wait_ended(unit)
    testbed.supervisor.revive()
    testbed.supervisor.revive()
    assert noted(testbed) == [("by hand", f"srv1/web ended ({words})")]


def test_one_that_was_started_again_before_it_was_missed_is_noted_too(testbed: Any) -> None:
    unit = testbed.run()
    os.kill(unit.process.pid, signal.SIGKILL)
    wait_ended(unit)
    testbed.supervisor.start("srv1/web")
    assert noted(testbed) == [("by hand", "srv1/web ended (signal SIGKILL)")]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_one_that_a_fault_ended_is_not_noted(end: str, testbed: Any) -> None:
    testbed.run()
    getattr(testbed.supervisor, end)("srv1/web")
    testbed.supervisor.revive()
    assert noted(testbed) == []


@pytest.mark.parametrize("words", ["raise SystemExit(7)", "import os; os.abort()"])
def test_one_that_crashes_by_itself_is_a_finding_and_not_noted(words: str, testbed: Any, tmp_path: Path) -> None:
    testbed.supervisor.add(FakeService("web", python(words)), FakePlace(tmp_path))
    testbed.supervisor.start("srv1/web")
    wait_ended(testbed.supervisor.unit("srv1/web"))
    testbed.supervisor.revive()
    assert noted(testbed) == []


def test_a_daemon_that_stands_still_by_hand_is_noted_and_a_frozen_one_is_not(testbed: Any) -> None:
    unit, watch = testbed.run(), DisturbanceWatch(testbed)
    testbed.supervisor.pause("srv1/web")
    watch.look()
    testbed.supervisor.resume("srv1/web")
    watch.look()
    assert noted(testbed) == []
    os.kill(unit.process.pid, signal.SIGSTOP)
    wait.until(lambda: None if unit.stands_still else "it runs", what="a halt", seconds=5)
    watch.look()
    watch.look()
    assert noted(testbed) == [("by hand", "srv1/web stands still")]


# --- links and flows -----------------------------------------------------------------------------------------------

LINK = SimpleNamespace(a=SimpleNamespace(node="fw3"), b=SimpleNamespace(node="srv3"))


class Linked(SimpleNamespace):
    """A link that can be a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@pytest.mark.parametrize(("set_down", "count"), [(True, 1), (False, 0)], ids=["set down", "no carrier yet"])
def test_a_link_that_is_down_is_noted_and_one_whose_carrier_is_late_is_not(
    set_down: bool, count: int, testbed: Any
) -> None:
    link = Linked(**vars(LINK))
    testbed.links.disturbed = lambda: {link: set_down}
    watch = DisturbanceWatch(testbed)
    watch.look()
    assert len(noted(testbed)) == count


def test_a_carrier_that_stays_away_is_noted(testbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturbancewatch, "CARRIER_SECONDS", 0.0)
    link = Linked(**vars(LINK))
    testbed.links.disturbed = lambda: {link: False}
    watch = DisturbanceWatch(testbed)
    watch.look()
    watch.look()
    assert noted(testbed) == [("by hand", "link fw3 - srv3 is down")]


@pytest.mark.parametrize("faults", [[], [{"fault": "off fw1"}]])
def test_flows_that_no_controller_put_there_are_noted_at_the_end(faults: list[Any], testbed: Any) -> None:
    testbed.plan.switches = (SimpleNamespace(name="fw1"),)
    testbed.flow_differences = lambda switch: f"{switch}: +priority=9 actions=drop"
    testbed.active_faults.status = lambda: faults
    with DisturbanceWatch(testbed):
        pass
    assert noted(testbed) == ([] if faults else [("by hand", "flows of fw1: +priority=9 actions=drop")])


@pytest.mark.parametrize("blocks", [False, True], ids=["no part of what is measured", "a part of it"])
def test_a_host_that_is_blocked_meanwhile_is_noted(blocks: bool, testbed: Any, plan: Plan) -> None:
    testbed.overlays = SimpleNamespace(standing=(fence(plan, "srv1"), block(plan, "attacker", reason="scan")))
    watch = DisturbanceWatch(testbed, blocks=blocks)
    watch.look()
    watch.look()
    assert noted(testbed) == ([] if blocks else [("by hand", "attacker is blocked: scan")])
