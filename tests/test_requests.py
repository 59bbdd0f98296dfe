"""The controller's requests against switches that answer when the test says so: in which order, and to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controllers import requests
from controllers.compile import compile_flows
from controllers.desired import Desired, controller_file, replace
from controllers.flow import Flow
from controllers.overlay import block, fence
from controllers.policy import Rule
from controllers.requests import Requests
from topo import wait
from topo.errors import DeadlineError, FoobarError, RefusedError, UsageError
from topo.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that nobody maintains any more
MORE = Rule("more", "client", "lb", "tcp", 8080, "allow", "for the test")


class Switches:
    """All switches of a plan, as far as the controller sees them. Barriers are answered by ``answer``."""

    def __init__(self, app: Requests, plan: Plan) -> None:
        from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser

        self.app = app
        self.sent: list[tuple[str, Any]] = []
        self.answered = 0
        self._xid = 0
        for switch in plan.switches:
            datapath = SimpleNamespace(
                id=switch.dpid, ofproto=ofproto_v1_3, ofproto_parser=ofproto_v1_3_parser, set_xid=self._set_xid
            )
            datapath.send_msg = lambda message, dpid=str(switch.dpid): self.sent.append((dpid, message))
            app.switches[str(switch.dpid)] = datapath

    def _set_xid(self, message: Any) -> None:
        self._xid += 1
        message.set_xid(self._xid)

    def kinds(self, dpid: str) -> list[str]:
        return [type(message).__name__ for to, message in self.sent if to == dpid]

    def bundled(self, dpid: str) -> list[Any]:
        return [m for to, m in self.sent if to == dpid and type(m).__name__ == "ONFBundleAddMsg"]

    def answer(self, *, refuse: Callable[[str], bool] = lambda _: False) -> None:
        """Carry out what was sent and not answered yet; ``refuse`` is asked about the text of each flow mod."""
        for dpid, message in self.sent[self.answered :]:
            self.answered += 1
            if type(message).__name__ == "ONFBundleAddMsg" and refuse(str(message.message)):
                self.app.refused(dpid, message.xid, "error type 5, code 1")
            if type(message).__name__ == "OFPBarrierRequest":
                self.app.barrier(dpid, message.xid)

    def answer_until(self, *futures: Future[Any], refuse: Callable[[str], bool] = lambda _: False) -> None:
        def look() -> str | None:
            self.answer(refuse=refuse)
            return None if all(future.done() for future in futures) else "not all are answered"

        wait.until(look, what="requests answered", seconds=5)


@pytest.fixture
def app(
    tmp_path: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], monkeypatch: pytest.MonkeyPatch
) -> Requests:
    (tmp_path / "flows.json").write_text(controller_file(plan, rules, flows))
    monkeypatch.setattr(requests.vswitchd, "forget_decisions", lambda: None)
    monkeypatch.setattr(requests, "BARRIER_SECONDS", 5.0)
    return Requests(Desired(tmp_path / "flows.json", tmp_path / "overlays.json"), threading.Lock, threading.Event)


@pytest.fixture
def switches(app: Requests, plan: Plan) -> Switches:
    return Switches(app, plan)


@pytest.fixture
def asking(switches: Switches) -> Any:
    """Ask from a thread of its own; returns as soon as everything is sent."""
    with ThreadPoolExecutor(8) as pool:

        def ask(request: Callable[..., Any], **words: Any) -> Future[Any]:
            barriers = switches.sent.__len__()
            future = pool.submit(request, **words)
            wait.until(
                lambda: None if len(switches.sent) > barriers or future.done() else "nothing sent",
                what="the request's messages",
                seconds=5,
            )
            return future

        yield ask


def standing(app: Requests) -> list[str]:
    return [overlay["name"] for overlay in app.overlays()["overlays"]]


def other_policy(plan: Plan, rules: tuple[Rule, ...], folder: Path) -> None:
    more = (MORE, *rules)
    replace(folder / "flows.json", controller_file(plan, more, compile_flows(plan, more)))


def test_a_fence_is_one_bundle_and_a_barrier_to_one_switch(app: Requests, switches: Switches, asking: Any) -> None:
    fenced = asking(app.handlers()["fence"], host="srv1")
    assert standing(app) == [], "it is not confirmed yet"
    switches.answer_until(fenced)
    assert fenced.result(5)["switches"] == ["fw1"]
    assert switches.kinds("2") == [
        "ONFBundleCtrlMsg",
        *["ONFBundleAddMsg"] * 4,
        "ONFBundleCtrlMsg",
        "OFPBarrierRequest",
    ]
    assert {to for to, _ in switches.sent} == {"2"}
    assert standing(app) == ["fence srv1"]


def test_what_is_lifted_is_deleted_and_twice_is_as_good_as_once(app: Requests, switches: Switches, asking: Any) -> None:
    for name in ("fence srv1", "fence srv1"):
        fenced = asking(app.handlers()["fence"], host="srv1")
        switches.answer_until(fenced)
        assert fenced.result(5)["overlays"] == [name]
    assert len(switches.bundled("2")) == 4
    for _ in range(2):
        lifted = asking(app.lift, name="fence srv1")
        switches.answer_until(lifted)
        lifted.result(5)
    assert [message.message.command for message in switches.bundled("2")] == [0] * 4 + [4] * 4
    assert standing(app) == []


def test_a_refused_fence_is_not_believed_in_though_a_policy_is_applied_meanwhile(
    app: Requests, switches: Switches, asking: Any, plan: Plan, rules: tuple[Rule, ...], tmp_path: Path
) -> None:
    """A refusal belongs to the request that caused it: what begins after it and is quicker does not clear it."""
    fenced = asking(app.handlers()["fence"], host="srv1")
    (dpid, add) = next((dpid, m) for dpid, m in switches.sent if type(m).__name__ == "ONFBundleAddMsg")
    app.refused(dpid, add.xid, "error type 5, code 1")
    other_policy(plan, rules, tmp_path)
    applied = asking(app.reload)
    switches.answer_until(fenced, applied)
    assert applied.result(5)["switches"] == ["core", "fw1", "fw2", "fw3"]
    with pytest.raises(FoobarError, match=r"^fw1 refused: error type 5, code 1$"):
        fenced.result(5)
    assert standing(app) == [], "the failover manager would take it for a fence"
    assert app.desired.overlays == []


def test_a_refusal_reaches_no_other_request(app: Requests, switches: Switches, asking: Any) -> None:
    handlers = app.handlers()
    wrong, right = asking(handlers["fence"], host="srv1"), asking(handlers["black-hole"], src="srv1", dst="lb")
    refuse = lambda flow: "priority=200" in flow or "priority=201" in flow  # noqa: E731
    switches.answer_until(wrong, right, refuse=refuse)
    assert right.result(5)["switches"] == ["fw1"]
    with pytest.raises(FoobarError, match=r"^fw1 refused"):
        wrong.result(5)
    assert standing(app) == ["black-hole srv1 lb"]


def test_a_switch_that_is_away_gets_it_when_it_comes_back(app: Requests, switches: Switches) -> None:
    datapath = app.switches.pop("2")
    with pytest.raises(RefusedError, match=r"^fw1: not connected; what was asked is in force when it comes back$"):
        app.handlers()["fence"](host="srv1")
    app.connected(datapath, [])
    assert sum("priority=200" in str(message.message) for message in switches.bundled("2")) == 2


def test_a_switch_that_does_not_confirm_is_named(app: Requests, switches: Switches, monkeypatch: Any) -> None:
    monkeypatch.setattr(requests, "BARRIER_SECONDS", 0.01)
    with pytest.raises(DeadlineError, match=r"^fw1: a barrier's reply: not within 0.01 s"):
        app.put(fence(app.desired.plan, "srv1").as_dict())
    assert switches.sent
    assert app._sent == {}, "nothing is kept of it"


def test_what_no_overlay_can_be_is_refused_before_anything_is_sent(app: Requests, switches: Switches) -> None:
    with pytest.raises(UsageError, match=r"^lb: no host with a database; those are: srv1, srv2, srv3"):
        app.handlers()["fence"](host="lb")
    with pytest.raises(UsageError, match=r"^srv9: no such host"):
        app.lift("block srv9")
    with pytest.raises(UsageError, match=r"^lb: the site needs it, so it is never blocked; .*: client, attacker$"):
        app.put(block(app.desired.plan, "lb").as_dict())
    assert switches.sent == []


def test_an_overlay_is_lifted_when_its_time_is_over(app: Requests, switches: Switches, asking: Any, plan: Plan) -> None:
    blocked = asking(app.put, overlay=block(plan, "attacker", until=1000.0).as_dict())
    switches.answer_until(blocked)
    blocked.result(5)
    app.lift_what_is_over(999.0)
    assert standing(app) == ["block attacker"]
    lifted = asking(app.lift_what_is_over, now=1000.0)
    switches.answer_until(lifted)
    lifted.result(5)
    assert standing(app) == []
    assert switches.bundled("1")[-1].message.command == 4


def test_many_at_once_end_as_the_desired_state_says(
    app: Requests, switches: Switches, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], tmp_path: Path
) -> None:
    """Each switch carries out bundles in the order in which it gets them: its tables are then the desired ones."""
    tables: dict[str, set[str]] = {}
    for dpid in app.switches:
        tables[dpid] = {_entry(message.message) for message in _synchronised(app, switches, dpid)}
    switches.sent.clear()
    done, hosts = threading.Event(), ("srv1", "srv2", "srv3", "srv1", "srv2", "srv3")

    def change(number: int) -> None:
        for turn in range(8):
            if number == 0:
                more = rules if turn % 2 else (MORE, *rules)
                replace(tmp_path / "flows.json", controller_file(plan, more, compile_flows(plan, more)))
                app.reload()
            elif turn % 2:
                app.lift(f"fence {hosts[number]}")
            else:
                app.handlers()["fence"](host=hosts[number])

    def serve() -> None:
        while not done.is_set():
            switches.answer()
            done.wait(0.001)

    server = threading.Thread(target=serve)
    server.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            for changing in [pool.submit(change, number) for number in range(6)]:
                changing.result(30)
    finally:
        done.set()
        server.join()
    for dpid, table in tables.items():
        for message in switches.bundled(dpid):
            entry = _entry(message.message)
            table.discard(entry) if message.message.command == 4 else table.add(entry)
        expected = {_entry(mod) for mod in _flow_mods(app, dpid)}
        assert table == expected


def _entry(mod: Any) -> str:
    return f"{mod.table_id} {mod.priority} {sorted(map(str, mod.match.items()))}"


def _synchronised(app: Requests, switches: Switches, dpid: str) -> list[Any]:
    app.connected(app.switches[dpid], [])
    return switches.bundled(dpid)


def _flow_mods(app: Requests, dpid: str) -> list[Any]:
    from controllers import messages

    return [messages.flow_mod(app.switches[dpid], flow) for flow in app.desired.flows(dpid)]
