"""The Ryu application: installs the desired state on every switch that connects, changes it on request,
and logs the samples of denied packets.

    python -m controllers.firewall FLOWS.json INSTALLED.json OVERLAYS.json BLOCKS.jsonl SOCKET DENIED.jsonl

FLOWS.json is desired.controller_file's text. INSTALLED.json tells, for each dpid, how many flows a switch has
confirmed by its barrier reply since this process began, and whether it has meters: {"1": {"flows": 80, "meters":
true}}. OVERLAYS.json and BLOCKS.jsonl (blocks.py) are kept between processes. SOCKET is where requests are taken
(northbound.py), DENIED.jsonl where events go (denied.py).

When a switch (re)connects, entries that are not desired are deleted one by one and ours are added again, all in one
bundle: adding an equal entry keeps its counters, and connections stay known, so a controller that comes back disturbs
nothing. Meters come before the flows that name them, and stay: to delete one deletes its flows. A switch without
meters gets no flow that samples.

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
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet.wsgi  # noqa: E402

if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):  # ryu 4.34 imports this name; today's eventlet lacks it
    eventlet.wsgi.ALREADY_HANDLED = object()

from eventlet.green import socket as green  # noqa: E402
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

from controllers import denied, jsonsocket  # noqa: E402
from controllers.blocks import Blocks  # noqa: E402
from controllers.desired import Desired, replace  # noqa: E402
from controllers.policycounters import PolicyCounters  # noqa: E402
from controllers.requests import Requests  # noqa: E402

LISTEN = ("127.0.0.1", 6653)
VARIABLES = tuple(f"FOOBAR_{name}" for name in ("FLOWS", "INSTALLED", "OVERLAYS", "BLOCKS", "NORTHBOUND", "DENIED"))
CLOCK_SECONDS = 0.1


class Firewall(RyuApp):  # type: ignore[misc]
    """Connect -> ask what is there -> delete what is not desired, add ours -> barrier -> say so.

    All of it, requests too, runs in green threads of one thread.
    """

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given, self.installed_file, kept, blocks, self.northbound, self.denied_file = (
            Path(os.environ[name]) for name in VARIABLES
        )
        self.desired = Desired(given, kept)
        self.requests = Requests(self.desired, hub.Semaphore, hub.Event)
        self.blocks = Blocks(self.requests, blocks)
        self.policy_counters = PolicyCounters(self.desired, self._changes, green.socket)
        self.confirmed: dict[str, dict[str, Any]] = {}
        self.present: dict[int, list[Any]] = {}
        self.packet_ins: dict[str, int] = defaultdict(int)
        replace(self.installed_file, json.dumps(self.confirmed))

    def start(self) -> Any:
        self.northbound.unlink(missing_ok=True)
        listening = hub.listen(str(self.northbound), family=socket.AF_UNIX, reuse_port=False)
        self.northbound.chmod(0o660)
        hub.spawn(self._serve, listening)
        hub.spawn(self._watch_the_clock)
        return super().start()

    # --- switches ----------------------------------------------------------------------------------------------

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] = []
        self.requests.meters.pop(str(datapath.id), None)
        parser = datapath.ofproto_parser
        for ask in (parser.OFPMeterFeaturesStatsRequest, parser.OFPMeterConfigStatsRequest, parser.OFPFlowStatsRequest):
            datapath.send_msg(ask(datapath))

    @set_ev_cls(ofp_event.EventOFPMeterFeaturesStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def has_meters(self, event: Any) -> None:
        if any(features.max_meter for features in event.msg.body):
            self.requests.meters[str(event.msg.datapath.id)] = set()

    @set_ev_cls(ofp_event.EventOFPMeterConfigStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def holds_meters(self, event: Any) -> None:
        if (known := self.requests.meters.get(str(event.msg.datapath.id))) is not None:
            known |= {meter.meter_id for meter in event.msg.body}

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def holds_flows(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] += event.msg.body
        if not event.msg.flags & datapath.ofproto.OFPMPF_REPLY_MORE:
            self._synchronise(datapath, self.present.pop(datapath.id))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def installed(self, event: Any) -> None:
        dpid = str(event.msg.datapath.id)
        if not self.requests.barrier(dpid, event.msg.xid):
            self.confirmed[dpid] = {"flows": len(self.desired.flows(dpid)), "meters": dpid in self.requests.meters}
            replace(self.installed_file, json.dumps(self.confirmed))

    @set_ev_cls(ofp_event.EventOFPStateChange, DEAD_DISPATCHER)
    def gone(self, event: Any) -> None:
        self.requests.gone(event.datapath)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def refused(self, event: Any) -> None:
        message = event.msg
        self.requests.refused(str(message.datapath.id), message.xid, f"error type {message.type}, code {message.code}")
        self.logger.error("switch %s refused: %s", message.datapath.id, message)

    @set_ev_cls(ofp_event.EventOFPPacketIn, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def sampled(self, event: Any) -> None:
        message = event.msg
        switch = self.desired.switches.get(str(message.datapath.id), "")
        self.packet_ins[switch] += 1
        rule, port = self.requests.rules.get(message.cookie), message.match["in_port"]
        packet = denied.event(time.time(), switch, rule, port, message.data, self.desired.hosts)
        denied.note(self.denied_file, packet)

    def _synchronise(self, datapath: Any, present: list[Any]) -> None:
        dpid = str(datapath.id)
        if dpid not in self.desired.switches:
            self.logger.error("switch %s is not in the plan: left alone", dpid)
            return
        flows = self.requests.connected(datapath, present)
        self.logger.info("switch %s: %d flows, %d were there", dpid, flows, len(present))

    # --- northbound --------------------------------------------------------------------------------------------

    def _serve(self, listening: Any) -> None:
        handlers = {
            **self.requests.handlers(),
            **self.blocks.handlers(),
            "samples": self.samples,
            "counters": self.policy_counters.ask,
        }
        while True:
            connection, _ = listening.accept()
            hub.spawn(jsonsocket.answer, connection, handlers)

    def _watch_the_clock(self) -> None:
        while True:
            hub.sleep(CLOCK_SECONDS)
            self.requests.lift_what_is_over(time.time())
            self.blocks.note()

    def _changes(self) -> tuple[int, int]:
        """Differs when a change has begun or ended since."""
        said = self.requests.overlays()
        return said["changes"], said["pending"]

    def samples(self) -> dict[str, Any]:
        """The number of samples received so far, by switch, and the processor time of the whole process (s)."""
        return {"pid": os.getpid(), "packet_ins": dict(self.packet_ins), "cpu_s": time.process_time()}


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
