"""The Ryu application: installs the flows it is given on every switch that connects, and the fences it is asked for;
writes down what it is sent of denied packets.

    python -m controllers.firewall FLOWS.json INSTALLED.json FENCES.json SOCKET DENIED.jsonl

FLOWS.json is compile.controller_file's text. INSTALLED.json tells, for each dpid, how many flows a switch has
confirmed by its barrier reply since this process began, and whether it has meters: {"1": {"flows": 80, "meters":
true}}. FENCES.json is kept between processes. SOCKET is where requests are taken (northbound.py), DENIED.jsonl where
events go (denied.py). When a switch (re)connects, entries that are not ours are deleted one by one and
ours are added again, all in one bundle: adding an equal entry keeps its counters, and connections stay known, so a
controller that comes back disturbs nothing. What a fault put there (cookie ``fault``) is left: broken hardware is not
the controller's to mend. Meters come before the flows that name them, and stay: to delete one deletes its flows. A
switch without meters gets no flow that samples.

This is the only file that imports ryu; moving to its fork os-ken is a change of these import lines.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet.wsgi  # noqa: E402

if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):  # ryu 4.34 imports this name; today's eventlet lacks it
    eventlet.wsgi.ALREADY_HANDLED = object()

from ryu import cfg  # noqa: E402
from ryu.base.app_manager import AppManager, RyuApp  # noqa: E402
from ryu.controller import ofp_event  # noqa: E402
from ryu.controller.handler import (  # noqa: E402
    CONFIG_DISPATCHER,
    DEAD_DISPATCHER,
    MAIN_DISPATCHER,
    set_ev_cls,
)
from ryu.lib import hub  # noqa: E402
from ryu.ofproto import ofproto_v1_3  # noqa: E402

from controllers import (  # noqa: E402
    denied,
    jsonsocket,
    sampling,
)
from controllers.compile import OWN_COOKIES  # noqa: E402
from controllers.desired import FlowDict, Wanted, replace  # noqa: E402
from controllers.flow import SAMPLE_BYTES  # noqa: E402
from controllers.ovs import vswitchd  # noqa: E402
from topo.errors import DeadlineError, FoobarError, RefusedError  # noqa: E402

LISTEN = ("127.0.0.1", 6653)
VARIABLES = ("FOOBAR_FLOWS", "FOOBAR_INSTALLED", "FOOBAR_FENCES", "FOOBAR_NORTHBOUND", "FOOBAR_DENIED")
BARRIER_SECONDS = 2.0
BUNDLE = 1

Messages: TypeAlias = Callable[[Any], list[Any]]


class Firewall(RyuApp):  # type: ignore[misc]
    """Connect -> ask what is there -> delete strangers, add ours -> barrier -> say so.

    All of it, requests too, runs in green threads of one thread. ``turn`` keeps a switch's messages together: sending
    may let others run.
    """

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given, installed, fences, northbound, events = (Path(os.environ[name]) for name in VARIABLES)
        self.files = (given, fences)
        self.wanted = Wanted(*self.files)
        self.rules = self.wanted.rules
        self.confirmed: dict[str, dict[str, Any]] = {}
        self.told_by = installed
        self.northbound = northbound
        self.present: dict[int, list[Any]] = {}
        self.switches: dict[str, Any] = {}
        self.turn: dict[str, Any] = defaultdict(hub.Semaphore)
        self.barriers: dict[tuple[str, int], Any] = {}
        self.refusals: dict[str, str] = {}
        self.meters: dict[str, set[int]] = {}
        self.written = events
        self.packet_ins: dict[str, int] = defaultdict(int)
        replace(installed, json.dumps(self.confirmed))

    def start(self) -> Any:
        self.northbound.unlink(missing_ok=True)
        listening = hub.listen(str(self.northbound), family=socket.AF_UNIX, reuse_port=False)
        self.northbound.chmod(0o600)
        hub.spawn(self._serve, listening)
        return super().start()

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] = []
        self.meters.pop(str(datapath.id), None)
        parser = datapath.ofproto_parser
        for ask in (parser.OFPMeterFeaturesStatsRequest, parser.OFPMeterConfigStatsRequest, parser.OFPFlowStatsRequest):
            datapath.send_msg(ask(datapath))

    @set_ev_cls(ofp_event.EventOFPMeterFeaturesStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def told_of_meters(self, event: Any) -> None:
        if any(features.max_meter for features in event.msg.body):
            self.meters[str(event.msg.datapath.id)] = set()

    @set_ev_cls(ofp_event.EventOFPMeterConfigStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def told_which_meters(self, event: Any) -> None:
        dpid = str(event.msg.datapath.id)
        if dpid in self.meters:
            self.meters[dpid] |= {meter.meter_id for meter in event.msg.body}

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def told(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] += event.msg.body
        if not event.msg.flags & datapath.ofproto.OFPMPF_REPLY_MORE:
            self._synchronise(datapath, self.present.pop(datapath.id))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def installed(self, event: Any) -> None:
        dpid = str(event.msg.datapath.id)
        if asker := self.barriers.pop((dpid, event.msg.xid), None):
            asker.set()
            return
        self.confirmed[dpid] = {"flows": len(self.wanted.flows(dpid)), "meters": dpid in self.meters}
        replace(self.told_by, json.dumps(self.confirmed))

    @set_ev_cls(ofp_event.EventOFPStateChange, DEAD_DISPATCHER)
    def gone(self, event: Any) -> None:
        dpid = str(event.datapath.id)
        if self.switches.get(dpid) is event.datapath:
            del self.switches[dpid]

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def refused(self, event: Any) -> None:
        dpid = str(event.msg.datapath.id)
        self.refusals[dpid] = f"error type {event.msg.type}, code {event.msg.code}"
        self.logger.error("switch %s refused: %s", dpid, event.msg)

    @set_ev_cls(ofp_event.EventOFPPacketIn, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def sampled(self, event: Any) -> None:
        message = event.msg
        switch = self.wanted.switches.get(str(message.datapath.id), "")
        self.packet_ins[switch] += 1
        rule, port = self.rules.get(message.cookie), message.match["in_port"]
        found = denied.event(time.time(), switch, rule, port, message.data, self.wanted.hosts)
        denied.note(self.written, found)

    def _synchronise(self, datapath: Any, present: list[Any]) -> None:
        dpid = str(datapath.id)
        if dpid not in self.wanted.switches:
            self.logger.error("switch %s is not in the plan: left alone", dpid)
            return
        with self.turn[dpid]:
            self.switches[dpid] = datapath
            wanted = self._possible(dpid, self.wanted)
            flows = [_flow_mod(datapath, flow) for flow in wanted]
            change = _bundle(datapath, _difference(datapath, present, flows))
            for message in (*self._missing(datapath, wanted), *change):
                datapath.send_msg(message)
            datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))
        self.logger.info("switch %s: %d flows, %d were there", dpid, len(flows), len(present))

    def _possible(self, dpid: str, wanted: Wanted) -> list[FlowDict]:
        """The flows of a switch, as far as it can have them."""
        flows = wanted.flows(dpid)
        return flows if dpid in self.meters else [_unsampled(flow) for flow in flows]

    def _missing(self, datapath: Any, flows: list[FlowDict]) -> list[Any]:
        """The meters that flows name and the switch does not have yet, and the one that bounds their sum."""
        dpid = str(datapath.id)
        if dpid not in self.meters:
            return []
        whole = datapath.ofproto.OFPM_CONTROLLER
        named = {fields["meter"] for flow in flows for kind, fields in flow["actions"] if kind == "Sample"}
        missing = sorted({whole, *named} - self.meters[dpid])
        self.meters[dpid].update(missing)
        return [_meter(datapath, each) for each in missing]

    # --- northbound --------------------------------------------------------------------------------------------

    def _serve(self, listening: Any) -> None:
        handlers = {
            "fence": self.fence,
            "unfence": self.unfence,
            "fences": lambda: self.wanted.fences,
            "reload": self.reload,
            "samples": self.samples,
        }
        while True:
            connection, _ = listening.accept()
            hub.spawn(jsonsocket.answer, connection, handlers)

    def fence(self, host: str) -> dict[str, Any]:
        return self._change({dpid: partial(_each, _flow_mod, flows) for dpid, flows in self.wanted.fence(host).items()})

    def unfence(self, host: str) -> dict[str, Any]:
        return self._change(
            {dpid: partial(_each, _removal, flows) for dpid, flows in self.wanted.unfence(host).items()}
        )

    def reload(self) -> dict[str, Any]:
        """The file of flows has been replaced: each switch gets what has changed, all at once or not at all."""
        old, self.wanted = self.wanted, Wanted(*self.files)
        # a cookie that both policies have is another rule's in each of them until all switches have changed
        self.rules = {cookie: name for cookie, name in old.rules.items() if self.wanted.rules.get(cookie) == name}
        try:
            return self._change({dpid: partial(self._exchange, dpid, old) for dpid in self.wanted.switches})
        finally:
            self.rules = self.wanted.rules

    def samples(self) -> dict[str, Any]:
        """What this process has been sent so far, by switch, and the processor time that all of its work took (s)."""
        return {"pid": os.getpid(), "packet_ins": dict(self.packet_ins), "cpu_s": time.process_time()}

    def _exchange(self, dpid: str, old: Wanted, datapath: Any) -> list[Any]:
        was, will = (self._possible(dpid, wanted) for wanted in (old, self.wanted))
        return [*self._missing(datapath, will), *_exchange(was, will, datapath)]

    def _change(self, changes: dict[str, Messages]) -> dict[str, Any]:
        """Send a change to its switches; returns when each has confirmed it and no packet is judged as before."""
        began = time.monotonic()
        self.refusals.clear()
        barriers = [self._send(dpid, messages) for dpid, messages in changes.items()]
        for dpid, barrier in zip(changes, barriers, strict=True):
            if not barrier.wait(began + BARRIER_SECONDS - time.monotonic()):
                raise DeadlineError(f"{self.wanted.switches[dpid]} does not confirm within {BARRIER_SECONDS:g} s")
        if refused := [self.wanted.switches[dpid] for dpid in changes if dpid in self.refusals]:
            raise FoobarError(f"{', '.join(refused)} refused: {self.refusals[str(min(self.refusals))]}")
        vswitchd.forget_decisions()
        return {
            "switches": [self.wanted.switches[dpid] for dpid in changes],
            "ms": round((time.monotonic() - began) * 1000, 3),
            "fences": self.wanted.fences,
        }

    def _send(self, dpid: str, messages: Messages) -> Any:
        """The event of a barrier that follows the messages. A switch that is away gets them when it comes back."""
        datapath = self.switches.get(dpid)
        if datapath is None:
            name = self.wanted.switches[dpid]
            raise RefusedError(f"{name} is not connected: what was asked is in force when it comes back")
        with self.turn[dpid]:
            for message in messages(datapath):
                datapath.send_msg(message)
            barrier, event = datapath.ofproto_parser.OFPBarrierRequest(datapath), hub.Event()
            datapath.set_xid(barrier)
            self.barriers[dpid, barrier.xid] = event
            datapath.send_msg(barrier)
        return event


def _each(message: Callable[[Any, FlowDict], Any], flows: list[FlowDict], datapath: Any) -> list[Any]:
    return [message(datapath, flow) for flow in flows]


def _exchange(old: list[FlowDict], new: list[FlowDict], datapath: Any) -> list[Any]:
    """What turns the one set of flows into the other, as a bundle; equal flows are left alone and go on counting."""
    was, will = ({json.dumps(flow): flow for flow in flows} for flows in (old, new))
    there, wanted = (
        [_flow_mod(datapath, one[each]) for each in one if each not in other]
        for one, other in ((was, will), (will, was))
    )
    return _bundle(datapath, _difference(datapath, there, wanted))


def _difference(datapath: Any, present: list[Any], flows: list[Any]) -> list[Any]:
    """Deletions of entries that are not wanted (but for what a fault put there), then all that are."""
    keys = {_key(flow) for flow in flows}
    strangers = [entry for entry in present if _key(entry) not in keys and entry.cookie != OWN_COOKIES["fault"]]
    return [*(_deletion(datapath, entry) for entry in strangers), *flows]


def _bundle(datapath: Any, messages: list[Any]) -> list[Any]:
    """Messages that a switch carries out together: no packet meets some of the change and not the rest.

    OpenFlow 1.3 has this as the ONF's extension 230, which Open vSwitch knows.
    """
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    flags = protocol.ONF_BF_ATOMIC | protocol.ONF_BF_ORDERED

    def control(kind: int) -> Any:
        return parser.ONFBundleCtrlMsg(datapath, BUNDLE, kind, flags, [])

    added = [parser.ONFBundleAddMsg(datapath, BUNDLE, flags, message, []) for message in messages]
    return [control(protocol.ONF_BCT_OPEN_REQUEST), *added, control(protocol.ONF_BCT_COMMIT_REQUEST)]


def _key(entry: Any) -> tuple[int, int, frozenset[Any]]:
    """What makes an entry itself: two entries equal in this are one entry to the switch."""
    return entry.table_id, entry.priority, frozenset(entry.match.items())


def _flow_mod(datapath: Any, flow: FlowDict) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    actions = [_action(datapath, kind, fields) for kind, fields in flow["actions"] if kind != "Goto"]
    instructions = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)] if actions else []
    for kind, fields in flow["actions"]:
        if kind == "Goto":
            instructions.append(parser.OFPInstructionGotoTable(fields["table"]))
        elif kind == "Sample":
            instructions.append(parser.OFPInstructionMeter(fields["meter"]))
    return parser.OFPFlowMod(
        datapath=datapath,
        cookie=flow["cookie"],
        table_id=flow["table"],
        priority=flow["priority"],
        match=_match(parser, flow),
        instructions=instructions,
    )


def _match(parser: Any, flow: FlowDict) -> Any:
    """Ryu puts Open vSwitch's own fields first, but one of them is refused before what kind of packet it is about."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in flow["match"].items()}
    ordered = sorted(parser.OFPMatch(**fields).items(), key=lambda field: field[0] == "ip_frag")
    return parser.OFPMatch(_ordered_fields=ordered)


def _removal(datapath: Any, flow: FlowDict) -> Any:
    return _deletion(datapath, _flow_mod(datapath, flow))


def _unsampled(flow: FlowDict) -> FlowDict:
    return flow | {"actions": [[kind, fields] for kind, fields in flow["actions"] if kind != "Sample"]}


def _meter(datapath: Any, number: int) -> Any:
    """The addition of a meter: the switch's own for its controller, or one rule's by one port."""
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    whole = number == protocol.OFPM_CONTROLLER
    rate, burst = (sampling.SWITCH_RATE, sampling.SWITCH_BURST) if whole else (sampling.RATE, sampling.BURST)
    return parser.OFPMeterMod(
        datapath,
        protocol.OFPMC_ADD,
        protocol.OFPMF_PKTPS | protocol.OFPMF_BURST,
        number,
        [parser.OFPMeterBandDrop(rate, burst)],
    )


def _action(datapath: Any, kind: str, fields: dict[str, Any]) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    if kind == "Output":
        return parser.OFPActionOutput(fields["port"])
    if kind == "Sample":
        return parser.OFPActionOutput(protocol.OFPP_CONTROLLER, SAMPLE_BYTES)
    mark = [parser.OFPActionSetField(ct_mark=fields["mark"])] if fields["commit"] else []
    return parser.NXActionCT(
        flags=int(fields["commit"]),
        zone_src="",
        zone_ofs_nbits=fields["zone"],
        recirc_table=255 if fields["table"] is None else fields["table"],
        alg=0,
        actions=mark,
    )


def _deletion(datapath: Any, entry: Any) -> Any:
    protocol = datapath.ofproto
    return datapath.ofproto_parser.OFPFlowMod(
        datapath=datapath,
        command=protocol.OFPFC_DELETE_STRICT,
        table_id=entry.table_id,
        priority=entry.priority,
        match=entry.match,
        out_port=protocol.OFPP_ANY,
        out_group=protocol.OFPG_ANY,
    )


def main(*paths: str) -> None:
    """Listen for switches until killed."""
    os.environ.update(zip(VARIABLES, paths, strict=True))
    host, port = LISTEN
    cfg.CONF(
        args=[f"--ofp-listen-host={host}", f"--ofp-tcp-listen-port={port}"],
        project="ryu",
        default_config_files=[],
    )
    AppManager.run_apps(["ryu.controller.ofp_handler", "controllers.firewall"])


if __name__ == "__main__":
    main(*sys.argv[1:])
