"""Blocks: who may be blocked, for how long, how that is remembered, and what the log tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controllers import overlay as overlays
from controllers.blocks import Blocks
from controllers.overlay import Overlay, block, fence, refuse_block, strangers
from testbed.commands import do_blocks, do_events
from topo.errors import RefusedError, UsageError
from topo.eventlog import events_in
from topo.plan import ATTACKER, BALANCER, Plan


class FakeRequests:
    """The controller's desired overlays, and nothing else of it."""

    def __init__(self, plan: Plan) -> None:
        self.standing: dict[str, Overlay] = {}
        self.desired = SimpleNamespace(plan=plan, get=self.standing.get)

    def refresh(self) -> None:
        self.desired.overlays = list(self.standing.values())

    def put(self, overlay: Any) -> dict[str, Any]:
        new = overlays.from_dict(overlay)
        refuse_block(self.desired.plan, new, self.standing.values())
        self.standing[new.name] = new
        self.refresh()
        return {"switches": ["core"]}

    def lift(self, name: str) -> dict[str, Any]:
        self.standing.pop(name, None)
        self.refresh()
        return {"switches": ["core"]}


class ControllerProcess:
    """Blocks with a clock of their own; ``again`` is what comes after the controller's death."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.now = 1000.0
        self.log = log
        self.requests = FakeRequests(plan)
        self.requests.refresh()
        self.again()

    def again(self) -> None:
        requests: Any = self.requests
        self.blocks = Blocks(requests, self.log, lambda: self.now)

    def wait_to(self, moment: float) -> None:
        """As the clock of the real one does."""
        self.now = moment
        for overlay in list(self.requests.standing.values()):
            if overlay.over(moment):
                self.requests.lift(overlay.name)
        self.blocks.note()

    def told(self) -> list[str]:
        return [event["text"] for event in events_in(self.log.read_bytes())]


@pytest.fixture
def process(plan: Plan, tmp_path: Path) -> ControllerProcess:
    return ControllerProcess(plan, tmp_path / "blocks.jsonl")


def lasts(process: ControllerProcess) -> float:
    """How long a detector's block of the attacker stands; waited for."""
    until: float = process.blocks.block("attacker", reason="scan")["until"]
    lasting = until - process.now
    process.wait_to(until)
    return lasting


def test_a_detectors_block_doubles_up_to_an_hour(process: ControllerProcess) -> None:
    assert [lasts(process) for _ in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert process.blocks.block("client")["until"] == process.now + 60, "the control: another host's does not"


def test_asked_for_again_while_it_stands_it_stays_as_it_is(process: ControllerProcess) -> None:
    first = process.blocks.block("attacker", reason="scan")
    process.now += 30
    assert process.blocks.block("attacker", reason="flood")["until"] == first["until"] == 1060
    process.wait_to(1060)
    assert lasts(process) == 120, "and was one block"


def test_a_person_says_how_long_in_place_of_what_stands(process: ControllerProcess) -> None:
    process.blocks.block("attacker", reason="scan")
    assert process.blocks.block("attacker", reason="by hand", lasting=5)["until"] == 1005
    assert [overlay.reason for overlay in process.requests.standing.values()] == ["by hand"]
    process.wait_to(1005)
    assert process.requests.standing == {}
    assert lasts(process) == 120, "it was one block"


@pytest.mark.parametrize("seconds", [0, -1, 86401, float("inf"), float("nan")])
def test_no_time_and_more_than_a_day_are_refused(process: ControllerProcess, seconds: float) -> None:
    with pytest.raises(UsageError, match=r"^block attacker: for .* s: say more than none, and a day at most$"):
        process.blocks.block("attacker", lasting=seconds)
    assert process.requests.standing == {}


def test_what_is_lifted_was_a_mistake_and_is_forgotten(process: ControllerProcess) -> None:
    assert [lasts(process), lasts(process)] == [60, 120]
    process.blocks.block("attacker")
    process.blocks.unblock("attacker")
    assert lasts(process) == 60


def test_the_controllers_death_makes_nothing_forgotten(process: ControllerProcess) -> None:
    assert [lasts(process), lasts(process)] == [60, 120]
    process.blocks.block("attacker", reason="scan")
    before = process.told()
    process.again()
    process.wait_to(process.now + 1)
    assert process.told() == before, "a block that goes on is no news"
    process.wait_to(process.now + 239)
    process.again()
    assert lasts(process) == 480
    process.blocks.block("attacker")
    process.requests.lift("block attacker")  # its time was over while there was no controller
    process.now += 10_000
    process.again()
    process.blocks.note()
    assert process.told()[-1] == "attacker is blocked no longer: its time is over"


def test_lines_that_a_full_disk_has_lost_stop_no_controller(process: ControllerProcess) -> None:
    lasts(process)
    _, unblocked = process.log.read_text().splitlines(keepends=True)
    process.log.write_text(unblocked + unblocked.replace("false", "true"))
    process.again()
    assert lasts(process) == 60


def test_however_often_a_host_was_blocked_there_is_a_next_time(process: ControllerProcess) -> None:
    for _ in range(1100):
        process.wait_to(process.blocks.block("attacker", lasting=1)["until"])
    assert lasts(process) == 3600


def test_the_log_tells_the_story_in_order(process: ControllerProcess) -> None:
    process.blocks.block("attacker", reason="scan")
    process.wait_to(1060)
    process.blocks.block("attacker", reason="scan")
    process.blocks.unblock("attacker")
    assert process.told() == [
        "attacker is blocked on core for 60 s (block 1): scan",
        "attacker is blocked no longer: its time is over",
        "attacker is blocked on core for 120 s (block 2): scan",
        "attacker is blocked no longer: it was lifted",
    ]


# --- who may be blocked --------------------------------------------------------------------------------------------


def test_no_host_that_the_site_needs_is_ever_blocked(plan: Plan) -> None:
    """Those that are visitors and nothing else may be: so a role that moves takes its protection along."""
    for host in plan.hosts:
        if host.name in ("client", "attacker"):
            refuse_block(plan, block(plan, host.name), ())
            continue
        line = rf"^{host.name}: the site needs it, so it is never blocked; hosts that may be: client, attacker$"
        with pytest.raises(UsageError, match=line):
            refuse_block(plan, block(plan, host.name), ())
    both = tuple(replace(host, roles=(ATTACKER, BALANCER)) if host.name == "attacker" else host for host in plan.hosts)
    assert [host.name for host in strangers(replace(plan, hosts=both))] == ["client"]


def test_not_more_than_so_many_at_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "MOST_BLOCKS", 1)
    standing = [fence(plan, "srv1"), block(plan, "client")]
    refuse_block(plan, block(plan, "client"), standing)
    refuse_block(plan, fence(plan, "srv2"), standing)
    with pytest.raises(RefusedError, match=r"^attacker: 1 hosts are blocked, and more are not at once"):
        refuse_block(plan, block(plan, "attacker"), standing)


# --- shown ---------------------------------------------------------------------------------------------------------


class AnsweringTestbed:
    """A testbed that gives the same answer to every request; its own origin."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def target(self, _: object) -> AnsweringTestbed:
        return self

    def ask(self, _: str, **__: Any) -> Any:
        return self.answer


Show = Callable[..., str]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def shown(command: Any, answer: Any, *, json: bool = False) -> str:
        origin: Any = AnsweringTestbed(answer)
        assert command.run(SimpleNamespace(name=None, json=json, follow=False), origin) == 0
        return capsys.readouterr().out

    return shown


def test_blocks_are_shown_with_the_time_that_is_left(show: Show) -> None:
    row = {"host": "attacker", "switch": "core", "reason": "scan", "until": 5.0, "left_s": 42.4}
    command = do_blocks.BlocksCommand()
    assert show(command, [row]) == "attacker: blocked on core for 42 s more: scan\n"
    assert show(command, []) == "no host is blocked\n"
    assert json.loads(show(command, [row], json=True)) == [row]
    endless = {**row, "until": None, "left_s": None}
    assert show(command, [endless]) == "attacker: blocked on core until it is lifted: scan\n"


def test_events_of_several_are_shown_in_order(show: Show) -> None:
    impossible = b'{"time": 1e300, "event": "x"}\n{"time": "3", "event": "x"}\nplain words\n{"ti'
    logs = {
        "controller": b'{"time": 3, "event": "unblocked", "text": "f"}\n{"time": 1, "event": "blocked", "text": "b"}\n',
        "failover": b'{"time": 2.5, "event": "fence", "host": "srv1"}\n' + impossible,
        "web": b'{"time": 9, "event": "none of these"}\n',
    }
    units = [
        SimpleNamespace(service=SimpleNamespace(role=role), written=lambda _, content=content: content)
        for role, content in logs.items()
    ]
    testbed: Any = SimpleNamespace(supervisor=SimpleNamespace(units=units))
    events = do_events._events(testbed, after={})
    said = [line.split("  ", 1)[1] for line in show(do_events.EventsCommand(), events).splitlines()]
    assert said == ["controller blocked: b", 'failover fence: host="srv1"', "controller unblocked: f"]
    late = {"controller": 3, "failover": 2}
    assert [row["event"] for row in do_events._events(testbed, after=late)] == ["fence"], "it was written late"
