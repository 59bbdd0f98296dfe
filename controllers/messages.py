"""OpenFlow messages: flows, bundles and meters for one switch, made of values with the datapath's own parser."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from controllers import sampling
from controllers.desired import FlowDict
from controllers.flow import SAMPLE_BYTES

BUNDLE = 1


def exchange(datapath: Any, old: Iterable[FlowDict], new: Iterable[FlowDict]) -> list[Any]:
    """The bundle that turns one set of flows into another; equal flows are left alone, so that they go on counting."""
    was, will = ({json.dumps(flow): flow for flow in flows} for flows in (old, new))
    gone, come = (
        [flow_mod(datapath, flow) for text, flow in one.items() if text not in other]
        for one, other in ((was, will), (will, was))
    )
    return bundle(datapath, difference(datapath, gone, come)) if gone or come else []


def difference(datapath: Any, present: Iterable[Any], flows: list[Any]) -> list[Any]:
    """Deletions of entries that are not desired, then all that are."""
    keys = {_key(flow) for flow in flows}
    return [*(_deletion(datapath, entry) for entry in present if _key(entry) not in keys), *flows]


def bundle(datapath: Any, messages: Iterable[Any]) -> list[Any]:
    """Messages that a switch carries out together: no packet meets some of the change and not the rest.

    OpenFlow 1.3 has this as the ONF's extension 230, which Open vSwitch knows.
    """
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    flags = protocol.ONF_BF_ATOMIC | protocol.ONF_BF_ORDERED

    def control(kind: int) -> Any:
        return parser.ONFBundleCtrlMsg(datapath, BUNDLE, kind, flags, [])

    added = [parser.ONFBundleAddMsg(datapath, BUNDLE, flags, message, []) for message in messages]
    return [control(protocol.ONF_BCT_OPEN_REQUEST), *added, control(protocol.ONF_BCT_COMMIT_REQUEST)]


def flow_mod(datapath: Any, flow: FlowDict) -> Any:
    """The addition of a flow."""
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


def unsampled(flow: FlowDict) -> FlowDict:
    """A flow as a switch without meters has it."""
    return flow | {"actions": [[kind, fields] for kind, fields in flow["actions"] if kind != "Sample"]}


def meters(flows: Iterable[FlowDict]) -> set[int]:
    """The meters that flows name."""
    return {fields["meter"] for flow in flows for kind, fields in flow["actions"] if kind == "Sample"}


def meter(datapath: Any, number: int) -> Any:
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


def _key(entry: Any) -> tuple[int, int, frozenset[Any]]:
    """The identity of an entry: two entries that are equal in this are one entry to the switch."""
    return entry.table_id, entry.priority, frozenset(entry.match.items())


def _match(parser: Any, flow: FlowDict) -> Any:
    """A match in an order that Open vSwitch accepts: Ryu puts ip_frag first, but it must follow eth_type."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in flow["match"].items()}
    ordered = sorted(parser.OFPMatch(**fields).items(), key=lambda field: field[0] == "ip_frag")
    return parser.OFPMatch(_ordered_fields=ordered)


def _action(datapath: Any, kind: str, fields: dict[str, Any]) -> Any:
    parser, protocol = datapath.ofproto_parser, datapath.ofproto
    if kind == "Output":
        return parser.OFPActionOutput(fields["port"])
    if kind == "Sample":
        return parser.OFPActionOutput(protocol.OFPP_CONTROLLER, SAMPLE_BYTES)
    if kind == "SetField":
        return parser.OFPActionSetField(**{fields["field"]: fields["value"]})
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
