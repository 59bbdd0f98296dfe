"""A testbed's overlays: counted, refused while the controller is away on purpose, lifted when it is back."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controllers.overlay import Overlay, black_hole, block
from services.controller import OVERLAYS
from testbed import overlays
from testbed.overlays import Overlays
from topo.errors import DeadlineError, RefusedError, UsageError
from topo.plan import Plan

PROJECT = Path(__file__).resolve().parent.parent


class FakeController:
    """A controller that keeps what it is asked for; ``answers`` is False while it does not."""

    def __init__(self, folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.plan = plan
        self.unit = SimpleNamespace(paused=False, wanted=True)
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.kept: dict[str, Any] = {}
        monkeypatch.setattr(overlays.northbound, "ask", self.ask)
        monkeypatch.setattr(overlays, "SECONDS", 0.05)

    def ask(self, request: str, *, socket: Path, **words: Any) -> None:
        overlay = words.get("overlay") or block(self.plan, words["host"]).as_dict() if "name" not in words else {}
        name = words.get("name") or overlay["name"]
        self.asked.append(f"{request} {name}")
        if self.failure is None or "not connected" in str(self.failure):
            self.kept.pop(name, None)
            if request in ("put", "block"):
                self.kept[name] = overlay
            self.path(OVERLAYS).write_text(json.dumps(list(self.kept.values())))
        if self.failure:
            raise self.failure

    def path(self, absolute: str) -> Path:
        return self.folder / Path(absolute).name


@pytest.fixture
def controller(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> FakeController:
    return FakeController(tmp_path, plan, monkeypatch)


@pytest.fixture
def powerless() -> set[str]:
    return set()


@pytest.fixture
def held(plan: Plan, controller: FakeController, powerless: set[str]) -> Overlays:
    supervisor: Any = SimpleNamespace(unit=lambda _: controller.unit)
    box: Any = controller
    return Overlays(plan, supervisor, box, powerless)


@pytest.fixture
def hole(plan: Plan) -> Overlay:
    return black_hole(plan, "lb", "srv1")


def test_who_is_blocked_is_free_for_a_time_and_then_blocked_again(
    held: Overlays, controller: FakeController, plan: Plan, hole: Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one whose time is over meanwhile; and what is no block stays as it is."""
    now = 1000.0
    monkeypatch.setattr(overlays.time, "time", lambda: now)
    lasting, ending, by_hand = (
        block(plan, host, until=until) for host, until in (("client", 1100.0), ("attacker", 1010.0), ("mon", None))
    )
    controller.kept = {overlay.name: overlay.as_dict() for overlay in (lasting, ending, by_hand, hole)}
    controller.path(OVERLAYS).write_text(json.dumps(list(controller.kept.values())))
    with suppress(KeyError), held.without_blocks():
        assert held.standing == (hole,)
        now = 1050.0
        raise KeyError("whatever happens")
    assert set(held.standing) == {hole, lasting, by_hand}


def test_the_last_to_let_go_lifts_it(held: Overlays, controller: FakeController, hole: Overlay) -> None:
    with held.above(hole):
        with held.above(hole):
            assert held.standing == (hole,)
        assert controller.asked == ["put black-hole lb srv1"]
        assert held.standing == (hole,)
    assert controller.asked == ["put black-hole lb srv1", "lift black-hole lb srv1"]
    assert held.standing == ()


@pytest.mark.parametrize("away", [{"paused": True}, {"wanted": False}])
def test_while_the_controller_is_away_on_purpose_it_is_refused(
    held: Overlays, controller: FakeController, hole: Overlay, away: dict[str, bool]
) -> None:
    vars(controller.unit).update(away)
    line = r"^black-hole lb srv1: the controller is away on purpose; heal that first$"
    with pytest.raises(RefusedError, match=line), held.above(hole):
        raise AssertionError("not reached")
    assert controller.asked == []
    vars(controller.unit).update(paused=False, wanted=True)
    with held.above(hole):
        assert held.standing == (hole,)


def test_what_is_let_go_meanwhile_is_lifted_when_the_controller_is_back(
    held: Overlays, controller: FakeController, hole: Overlay
) -> None:
    held.put(hole)
    controller.unit.wanted = False
    held.lift(hole)
    assert controller.asked == ["put black-hole lb srv1"]
    controller.unit.wanted = True
    held.settle()
    held.settle()
    assert controller.asked == ["put black-hole lb srv1", "lift black-hole lb srv1"]


def test_what_is_wanted_again_before_that_stays(held: Overlays, controller: FakeController, hole: Overlay) -> None:
    held.put(hole)
    controller.unit.paused = True
    held.lift(hole)
    held.put(hole)
    controller.unit.paused = False
    held.settle()
    assert held.standing == (hole,)
    held.lift(hole)
    assert held.standing == ()


def test_a_switch_without_power_gets_it_later(
    held: Overlays, controller: FakeController, hole: Overlay, powerless: set[str]
) -> None:
    controller.failure = RefusedError("core: not connected; what was asked is in force when it comes back")
    powerless.add("core")
    held.put(hole)
    assert held.standing == (hole,)
    held.lift(hole)
    assert held.standing == ()


@pytest.mark.parametrize("interruption", [None, KeyboardInterrupt()])
def test_what_is_not_confirmed_is_not_left_behind(
    held: Overlays, controller: FakeController, hole: Overlay, interruption: BaseException | None
) -> None:
    controller.failure = interruption or RefusedError("the controller does not answer")  # type: ignore[assignment]
    with pytest.raises(type(interruption) if interruption else DeadlineError):
        held.put(hole)
    assert controller.asked[-1] == "lift black-hole lb srv1"
    controller.failure = None
    held.put(hole)
    assert held.standing == (hole,)


def test_a_block_is_held_by_nothing_and_ends_when_it_is_asked_to(
    held: Overlays, controller: FakeController, plan: Plan
) -> None:
    held.block("attacker", 5, "by hand")
    held.block("attacker", 9, "by hand")
    assert [overlay.name for overlay in held.standing] == ["block attacker"]
    held.unblock("attacker")
    assert held.standing == ()
    for host, words in (("client", "unblock client: it is not blocked"), ("attacker", "unblock attacker: it is not")):
        with pytest.raises(RefusedError, match=words):
            held.unblock(host)
    assert controller.asked == ["block block attacker", "block block attacker", "unblock block attacker"]


@pytest.mark.parametrize("away", [{"paused": True}, {"wanted": False}])
def test_no_block_begins_or_ends_while_the_controller_is_away_on_purpose(
    held: Overlays, controller: FakeController, away: dict[str, bool]
) -> None:
    held.block("attacker", 5, "by hand")
    vars(controller.unit).update(away)
    for ask in (lambda: held.block("client", 5, "by hand"), lambda: held.unblock("attacker")):
        with pytest.raises(RefusedError, match=r"^block \w+: the controller is away on purpose; heal that first$"):
            ask()
    assert controller.asked == ["block block attacker"]


def test_what_may_not_be_blocked_is_refused_at_once(held: Overlays, controller: FakeController) -> None:
    with pytest.raises(UsageError, match=r"^lb: the site needs it"):
        held.block("lb", 5, "by hand")
    assert controller.asked == []


def test_a_block_waits_for_a_controller_that_has_just_died(
    held: Overlays, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([RefusedError("the controller does not answer"), None])
    real = controller.ask

    def ask(request: str, **words: Any) -> None:
        controller.failure = next(answers)
        real(request, **words)

    monkeypatch.setattr(overlays.northbound, "ask", ask)
    held.block("attacker", 5, "by hand")
    assert controller.asked == ["block block attacker"] * 2


def test_only_these_may_put_flows_on_a_switch_past_the_controller() -> None:
    importing = {
        str(path.relative_to(PROJECT))
        for folder in ("topo", "controllers", "services", "testbed", "experiments", "benchmarks")
        for path in (PROJECT / folder).rglob("*.py")
        if re.search(r"^\s*from controllers\.ovs import .*\bbypass\b", path.read_text(), re.M)
    }
    assert importing == {
        "benchmarks/deny_flood.py",
        "benchmarks/policy_install.py",
        "experiments/firewall_mutants/fixture.py",
        "testbed/power.py",
    }
    commands = re.compile(r"add-flow|mod-flow|replace-flows|del-flows")
    sources = (path for folder in ("testbed", "experiments", "services") for path in (PROJECT / folder).rglob("*.py"))
    assert [str(path) for path in sources if commands.search(path.read_text())] == []
