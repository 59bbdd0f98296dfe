"""The Ryu application: reads the flows it is given, installs them on every switch that connects, and nothing else.

    python -m controllers.firewall FLOWS.json INSTALLED.json

FLOWS.json is compile.controller_file's text. INSTALLED.json tells, for each dpid, how many flows a switch has
confirmed by its barrier reply. When a switch (re)connects, entries that are not ours are deleted one by one and ours
are added again: adding an equal entry keeps its counters, and connections stay known, so a controller that comes back
disturbs nothing.

This is the only file that imports ryu; moving to its fork os-ken is a change of these import lines.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet.wsgi  # noqa: E402

if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):  # ryu 4.34 imports this name; today's eventlet lacks it
    eventlet.wsgi.ALREADY_HANDLED = object()

from ryu import cfg  # noqa: E402
from ryu.base.app_manager import AppManager, RyuApp  # noqa: E402
from ryu.controller import ofp_event  # noqa: E402
from ryu.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls  # noqa: E402
from ryu.ofproto import ofproto_v1_3  # noqa: E402

LISTEN = ("127.0.0.1", 6653)
FLOWS_VARIABLE, INSTALLED_VARIABLE = "FOOBAR_FLOWS", "FOOBAR_INSTALLED"


class Firewall(RyuApp):  # type: ignore[misc]
    """Connect -> ask what is there -> delete strangers, add ours -> barrier -> say so."""

    OFP_VERSIONS = [ofproto_v1_3.OFP_VERSION]  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wanted: dict[str, Any] = json.loads(Path(os.environ[FLOWS_VARIABLE]).read_text())
        self.confirmed: dict[str, int] = {}
        self.present: dict[int, list[Any]] = {}

    @set_ev_cls(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)
    def connected(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] = []
        datapath.send_msg(datapath.ofproto_parser.OFPFlowStatsRequest(datapath))

    @set_ev_cls(ofp_event.EventOFPFlowStatsReply, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def told(self, event: Any) -> None:
        datapath = event.msg.datapath
        self.present[datapath.id] += event.msg.body
        if not event.msg.flags & datapath.ofproto.OFPMPF_REPLY_MORE:
            self._synchronise(datapath, self.present.pop(datapath.id))

    @set_ev_cls(ofp_event.EventOFPBarrierReply, MAIN_DISPATCHER)
    def installed(self, event: Any) -> None:
        dpid = str(event.msg.datapath.id)
        self.confirmed[dpid] = len(self.wanted[dpid]["flows"])
        target = Path(os.environ[INSTALLED_VARIABLE])
        partial = target.with_suffix(".part")
        partial.write_text(json.dumps(self.confirmed))
        partial.replace(target)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def refused(self, event: Any) -> None:
        self.logger.error("switch %s refused: %s", event.msg.datapath.id, event.msg)

    def _synchronise(self, datapath: Any, present: list[Any]) -> None:
        if str(datapath.id) not in self.wanted:
            self.logger.error("switch %s is not in the plan: left alone", datapath.id)
            return
        flows = [_flow_mod(datapath, flow) for flow in self.wanted[str(datapath.id)]["flows"]]
        keys = {_key(flow) for flow in flows}
        for entry in present:
            if _key(entry) not in keys:
                datapath.send_msg(_deletion(datapath, entry))
        for flow in flows:
            datapath.send_msg(flow)
        datapath.send_msg(datapath.ofproto_parser.OFPBarrierRequest(datapath))
        self.logger.info("switch %s: %d flows, %d were there", datapath.id, len(flows), len(present))


def _key(entry: Any) -> tuple[int, int, frozenset[Any]]:
    """What makes an entry itself: two entries equal in this are one entry to the switch."""
    return entry.table_id, entry.priority, frozenset(entry.match.items())


def _flow_mod(datapath: Any, flow: dict[str, Any]) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    match = {name: tuple(value) if isinstance(value, list) else value for name, value in flow["match"].items()}
    actions = [_action(parser, kind, fields) for kind, fields in flow["actions"] if kind != "Goto"]
    instructions = [parser.OFPInstructionActions(protocol.OFPIT_APPLY_ACTIONS, actions)] if actions else []
    instructions += [
        parser.OFPInstructionGotoTable(fields["table"]) for kind, fields in flow["actions"] if kind == "Goto"
    ]
    return parser.OFPFlowMod(
        datapath=datapath,
        cookie=flow["cookie"],
        table_id=flow["table"],
        priority=flow["priority"],
        match=parser.OFPMatch(**match),
        instructions=instructions,
    )


def _action(parser: Any, kind: str, fields: dict[str, Any]) -> Any:
    if kind == "Output":
        return parser.OFPActionOutput(fields["port"])
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


def main(flows: str, installed: str) -> None:
    """Listen for switches until killed."""
    os.environ[FLOWS_VARIABLE], os.environ[INSTALLED_VARIABLE] = flows, installed
    host, port = LISTEN
    cfg.CONF(
        args=[f"--ofp-listen-host={host}", f"--ofp-tcp-listen-port={port}"],
        project="ryu",
        default_config_files=[],
    )
    AppManager.run_apps(["ryu.controller.ofp_handler", "controllers.firewall"])


if __name__ == "__main__":
    main(*sys.argv[1:])
