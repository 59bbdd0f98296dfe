"""The Ryu application against a switch that only takes notes: what it asks, what it sends, and in which order."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from controllers.compile import OWN_COOKIES, compile_flows
from controllers.desired import Desired, controller_file
from controllers.flow import Flow
from controllers.policy import Rule
from controllers.requests import Requests
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that nobody maintains any more
CORE = "1"
# core has a meter for each port and each of: deny-rest, spoofed, fragment, invalid, no-route, arp-unknown
METERS = 6 * len(plan_of(Profile()).links_of("core"))


class ConnectedSwitch:
    """The application, with one switch."""

    def __init__(self, folder: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> None:
        from ryu.ofproto import ofproto_v1_3, ofproto_v1_3_parser

        from controllers.firewall import Firewall

        self.given = folder / "flows.json"
        self.events = folder / "denied.jsonl"
        self.given.write_text(controller_file(plan, rules, flows))
        self.sent: list[Any] = []
        self.datapath = SimpleNamespace(
            id=int(CORE),
            ofproto=ofproto_v1_3,
            ofproto_parser=ofproto_v1_3_parser,
            send_msg=self.sent.append,
            set_xid=lambda message: message.set_xid(len(self.sent)),
        )
        app = self.app = Firewall.__new__(Firewall)
        app.desired = Desired(self.given, folder / "overlays.json")
        app.requests = Requests(app.desired, nullcontext, Event)
        app.denied_file = self.events
        app.present, app.packet_ins = {}, defaultdict(int)
        app.logger = SimpleNamespace(info=lambda *_: None)

    def told(self, handler: Any, **fields: Any) -> None:
        handler(SimpleNamespace(msg=SimpleNamespace(datapath=self.datapath, flags=0, **fields)))

    def connects(self, *present: int, most: int = 1000) -> list[str]:
        """It connects, can have so many meters and has these; what it is sent: each message's kind."""
        self.told(self.app.connected)
        self.told(self.app.has_meters, body=[SimpleNamespace(max_meter=most)])
        self.told(self.app.holds_meters, body=[SimpleNamespace(meter_id=each) for each in present])
        self.sent.clear()
        self.told(self.app.holds_flows, body=[])
        return [type(message).__name__ for message in self.sent]

    def meters(self) -> list[int]:
        return [message.meter_id for message in self.sent if type(message).__name__ == "OFPMeterMod"]

    def installed(self) -> str:
        """Every flow mod, bundled, as text."""
        return "".join(str(message) for message in self.sent if type(message).__name__ == "ONFBundleAddMsg")


@pytest.fixture
def switch(tmp_path: Path, plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> ConnectedSwitch:
    return ConnectedSwitch(tmp_path, plan, rules, flows)


def test_a_switch_is_asked_what_it_has(switch: ConnectedSwitch) -> None:
    switch.told(switch.app.connected)
    asked = [type(message).__name__ for message in switch.sent]
    assert asked == ["OFPMeterFeaturesStatsRequest", "OFPMeterConfigStatsRequest", "OFPFlowStatsRequest"]


def test_meters_come_before_the_flows_that_name_them(switch: ConnectedSwitch) -> None:
    kinds = switch.connects()
    whole = switch.datapath.ofproto.OFPM_CONTROLLER
    assert switch.meters() == [*range(1, METERS + 1), whole]
    assert kinds[: METERS + 2] == ["OFPMeterMod"] * (METERS + 1) + ["ONFBundleCtrlMsg"]
    assert kinds[-2:] == ["ONFBundleCtrlMsg", "OFPBarrierRequest"]
    assert switch.installed().count("OFPInstructionMeter") == 7 * METERS // 6


def test_only_missing_meters_are_added(switch: ConnectedSwitch) -> None:
    whole = switch.datapath.ofproto.OFPM_CONTROLLER
    switch.connects(*range(1, METERS), whole)
    assert switch.meters() == [METERS]


def test_without_meters_nothing_is_sampled(switch: ConnectedSwitch) -> None:
    """Never unmetered: then a flood would be the controller's."""
    switch.connects(most=0)
    assert switch.meters() == []
    assert "OFPInstructionMeter" not in switch.installed()
    assert str(switch.datapath.ofproto.OFPP_CONTROLLER) not in switch.installed()
    assert switch.installed().count("OFPFlowMod") == len(switch.app.desired.flows(CORE))


def test_another_policy_gets_its_meters_first_and_events_their_right_name(
    switch: ConnectedSwitch, plan: Plan, rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch.connects()
    switch.sent.clear()
    shut = (Rule("shut", "client", "lb", "tcp", 80, "deny", "no longer"), *rules)
    switch.given.write_text(controller_file(plan, shut, compile_flows(plan, shut)))
    between: dict[int, str | None] = {}
    requests = switch.app.requests

    def confirmed(*_: Any) -> dict[str, Any]:
        between.update(requests.rules)
        return {}

    monkeypatch.setattr(requests, "_confirmed", confirmed)
    requests.reload()
    assert switch.meters() == [METERS + 1]
    assert type(switch.sent[0]).__name__ == "OFPMeterMod"
    assert len(rules) not in between, "the number was deny-rest's and is another's now: nobody can tell"
    assert between[1001] == "spoofed"
    assert (requests.rules[1], requests.rules[len(shut)]) == ("shut", "deny-rest")


def test_a_sample_is_counted_and_written_down(switch: ConnectedSwitch, rules: tuple[Rule, ...]) -> None:
    frame = bytes.fromhex(
        "02000000020a0200000001420800450000280000000040060000 0a000142 0a00020a 9c400cea".replace(" ", "")
    )
    switch.told(switch.app.sampled, cookie=len(rules), match={"in_port": 2}, data=frame)
    switch.told(switch.app.sampled, cookie=77, match={"in_port": 2}, data=b"")
    switch.told(switch.app.sampled, cookie=OWN_COOKIES["block"], match={"in_port": 2}, data=frame)
    assert switch.app.samples()["packet_ins"] == {"core": 3}
    first, second, third = (json.loads(line) for line in switch.events.read_text().splitlines())
    assert (first["switch"], first["rule"], first["src"], first["dst"]) == ("core", "deny-rest", "attacker", "lb")
    assert (first["proto"], first["port"], first["in_port"]) == ("tcp", 3306, 2)
    assert (second["rule"], second["proto"]) == (None, "0x0000")
    assert (third["rule"], third["src"]) == ("block", "attacker")
