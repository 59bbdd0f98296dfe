"""A difference in words: which packet, what the policy says and by which rule, what happens and by which flow."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from controllers.compile import OWN_COOKIES
from controllers.flow import CT_EST, CT_INV, CT_NEW, CT_REL, CT_RPL, CT_TRK, Conntrack, Flow, Goto, Output
from controllers.overlay import KINDS, Overlay
from controllers.ovs.dump import mac_number
from controllers.policy import DENY_REST, Rule, members, shown_range
from controllers.verify.intent import PROTOCOLS, UNTAGGED, address, overlaid
from controllers.verify.packetset import FIELDS, LEAF, NAMES, Box, Node, Ranges, branches, united
from controllers.verify.proof import Checked, Difference
from controllers.verify.tables import constraints
from controllers.verify.tracker import ICMP_ANSWERS
from topo.plan import Host, Plan
from topo.wiring import End

Point = dict[str, int]
WHEN = {
    "first": "",
    "onward": " of a known conversation",
    "answer": " in answer to a known conversation",
    "related": " about a known conversation",
    "invalid": " that no tracker makes sense of",
    "any": " once its conversation is forgotten on some switch",
}
SAID = {
    "first": CT_TRK | CT_NEW,
    "onward": CT_TRK | CT_EST,
    "answer": CT_TRK | CT_EST | CT_RPL,
    "related": CT_TRK | CT_REL,
    "invalid": CT_TRK | CT_INV,
    "any": CT_TRK | CT_NEW,
}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
MOST_BOXES = 3


@dataclass(frozen=True)
class Step:
    """A flow that a packet met; None: no flow matched."""

    switch: str
    table: int
    flow: Flow | None

    def text(self) -> str:
        shown = self.flow.text().split(",", 2)[2] if self.flow else "no flow"
        overlay = next((kind for kind in KINDS if self.flow and self.flow.cookie == OWN_COOKIES[kind]), None)
        return f"{self.switch} table {self.table}{f' ({overlay})' if overlay else ''}: {shown}"


def differences(
    plan: Plan, flows: Sequence[Flow], rules: Sequence[Rule], checked: Checked, overlays: Sequence[Overlay] = ()
) -> list[str]:
    """A line for every error; errors that only follow from another one are left out."""
    lines = [
        f"{host}: {switch}: {what}: {'; '.join(conversation(box) for box in boxes_of(where)[:MOST_BOXES])}"
        for host, switch, what, where in checked.reach.anomalies
    ]
    begun = {
        frozenset((difference.src, difference.dst)) for difference in checked.differences if difference.state == "first"
    }
    known = {(difference.src, difference.dst) for difference in checked.differences if difference.state != "any"}
    for difference in checked.differences:
        follows = frozenset((difference.src, difference.dst)) in begun or (
            difference.state == "any" and (difference.src, difference.dst) in known
        )
        if difference.state == "first" or not follows:
            lines += _lines(plan, flows, rules, checked, difference, overlays)
    return list(dict.fromkeys(lines))


def _lines(
    plan: Plan,
    flows: Sequence[Flow],
    rules: Sequence[Rule],
    checked: Checked,
    difference: Difference,
    overlays: Sequence[Overlay],
) -> Iterator[str]:
    boxes, pair, when = boxes_of(difference.packets), f"{difference.src} -> {difference.dst}", WHEN[difference.state]
    for box in boxes[:MOST_BOXES]:
        point = witness(box)
        rule = overruling(overlays, difference, point) or ruling(plan, rules, difference, point)
        steps = trace(plan, flows, difference.src, point, difference.state, checked.reach.memory)
        what = packet(plan, box, difference)
        if difference.excess:
            by = "; ".join(step.text() for step in deciding(steps))
            yield f"{pair} {what}{when}: arrives, though {rule}; by {by}"
        else:
            by = f"stopped by {steps[-1].text()}" if steps else "stopped by no switch"
            yield f"{pair} {what}{when}: does not arrive, though {rule}; {by}"
    if len(boxes) > MOST_BOXES:
        yield f"{pair}: and {len(boxes) - MOST_BOXES} more sets of packets{when}"


def ruling(plan: Plan, rules: Iterable[Rule], difference: Difference, point: Point) -> str:
    """The policy's decision about a packet, in words."""
    if point["eth_type"] == 0x0806:
        return "ARP names its own sender" if difference.excess else "ARP is free"
    if point["eth_type"] != 0x0800:
        return "only IPv4 and ARP may be sent"
    src, dst = plan.host(difference.src), plan.host(difference.dst)
    if (point["nw_src"], point["nw_dst"]) != (address(src), address(dst)) or not _own(point, src, dst):
        return "a host sends under its own name only, to the receiver's"
    if difference.state == "any" and not difference.excess:
        return "its conversation may go on"
    if difference.state in ("related", "invalid"):
        return "that is no conversation of these switches" if difference.excess else "ICMP errors may return"
    if difference.state == "answer":
        src, dst, point = dst, src, turned(point)
    rule = next((rule for rule in rules if _speaks(plan, rule, src, dst, point)), DENY_REST)
    return f"{rule.name} {'denies' if rule.action == 'deny' else 'allows'} it"


def overruling(overlays: Iterable[Overlay], difference: Difference, point: Point) -> str | None:
    """The overlay that stops a packet, in words."""
    for overlay in overlays:
        for box in overlaid(overlay.match, difference.src, difference.dst):
            if difference.excess and all(any(low <= point[name] <= high for low, high in box[name]) for name in box):
                return f"the overlay {overlay.name} stops it ({overlay.reason})"
    return None


def _own(point: Point, src: Host, dst: Host) -> bool:
    macs = tuple(mac_number(host.mac) for host in (src, dst))
    return (point["eth_src"], point["eth_dst"]) == macs and point["vlan_tci"] & 0x1FFF == 0


def _speaks(plan: Plan, rule: Rule, src: Host, dst: Host, point: Point) -> bool:
    if src not in members(plan, rule.src) or dst not in members(plan, rule.dst):
        return False
    if rule.proto == "any":
        return True
    port = point["tp_src" if rule.proto == "icmp" else "tp_dst"]
    return PROTOCOLS[rule.proto] == point["nw_proto"] and (
        rule.ports is None or any(low <= port <= high for low, high in rule.ports)
    )


# --- a packet in words ---------------------------------------------------------------------------------------------


def packet(plan: Plan, box: Box, difference: Difference) -> str:
    """A set's packets in words, as far as they differ from the usual ones of that pair of hosts."""
    if box.get("eth_type") == ((0x0806, 0x0806),):
        return "ARP" + _foreign(plan, box, difference)
    if box.get("eth_type") != ((0x0800, 0x0800),):
        return "ethertype " + ",".join("-".join(f"{x:#06x}" for x in dict.fromkeys(r)) for r in box.get("eth_type", ()))
    return conversation(box) + _foreign(plan, box, difference)


def conversation(box: Box) -> str:
    """Protocol and ports: ``tcp/80``, ``icmp/8``, ``any``."""
    protocols = box.get("nw_proto")
    if protocols is None:
        return "any"
    if any(low != high or low not in PROTOCOL_NAMES for low, high in protocols):
        missing = [name for number, name in PROTOCOL_NAMES.items() if not any(a <= number <= b for a, b in protocols)]
        whole = united((*protocols, *((PROTOCOLS[name], PROTOCOLS[name]) for name in missing))) == ((0, 255),)
        return f"any but {' and '.join(missing)}" if whole else f"protocol {_numbers(protocols)}"
    return " and ".join(_ported(PROTOCOL_NAMES[number], box) for number, _ in protocols)


def _ported(name: str, box: Box) -> str:
    source, target = box.get("tp_src"), box.get("tp_dst")
    if name == "icmp":
        return name + (f"/{_numbers(source)}" if source else "")
    return name + (f"/{_numbers(target)}" if target else "") + (f" from port {_numbers(source)}" if source else "")


def _foreign(plan: Plan, box: Box, difference: Difference) -> str:
    src, dst = plan.host(difference.src), plan.host(difference.dst)
    said = []
    for field, host, what in (("nw_src", src, "as if from"), ("nw_dst", dst, "addressed to")):
        if box.get(field) != ((address(host), address(host)),):
            said.append(f"{what} {_addresses(plan, box.get(field))}")
    for field, host in (("eth_src", src), ("eth_dst", dst)):
        number = mac_number(host.mac)
        if box.get(field) != ((number, number),) and box.get("eth_type") == ((0x0800, 0x0800),):
            said.append(f"with another {field}")
    if box.get("vlan_tci") != UNTAGGED:
        said.append("tagged")
    return f" ({', '.join(said)})" if said else ""


def _addresses(plan: Plan, ranges: Ranges | None) -> str:
    names = {address(host): host.name for host in plan.hosts}
    if ranges is None or len(ranges) > MOST_BOXES:
        return "many addresses"
    return ", ".join(
        names.get(low, str(ipaddress.ip_address(low))) + (f"-{ipaddress.ip_address(high)}" if high != low else "")
        for low, high in ranges
    )


def _numbers(ranges: Ranges | None) -> str:
    return "any" if ranges is None else ",".join(shown_range(low, high) for low, high in ranges)


# --- one packet through the flows ----------------------------------------------------------------------------------


def boxes_of(node: Node) -> list[Box]:
    """A set as disjoint boxes, without a space at hand."""
    if node.level == LEAF:
        return [] if node.value is None else [{}]
    return [{NAMES[node.level]: ranges, **box} for kid, ranges in branches(node) for box in boxes_of(kid)]


def witness(box: Box) -> Point:
    """One packet of a box: of each field the lowest value."""
    return {name: box[name][0][0] if name in box else 0 for name in FIELDS}


def turned(point: Point) -> Point:
    """The packet whose answer this one is."""
    types = {answer: ask for ask, answer in ICMP_ANSWERS} | dict(ICMP_ANSWERS)
    back = point | {"nw_src": point["nw_dst"], "nw_dst": point["nw_src"]}
    if point["nw_proto"] == PROTOCOLS["icmp"]:
        return back | {"tp_src": types.get(point["tp_src"], point["tp_src"])}
    return back | {"tp_src": point["tp_dst"], "tp_dst": point["tp_src"]}


def trace(
    plan: Plan, flows: Sequence[Flow], host: str, point: Point, state: str, memory: Mapping[int, Node]
) -> list[Step]:
    """The flows that one packet meets, switch by switch, until it arrives or is dropped."""
    far = {own: other for node in plan.nodes for own, other in plan.links_of(node.name)}
    end: End | None = plan.links_of(host)[0][1]
    steps: list[Step] = []
    while end is not None and plan.is_switch(end.node):
        steps_here, port = _on_switch(flows, end, point, state, memory)
        steps += steps_here
        end = far.get(End(end.node, port)) if port is not None else None
    return steps


def _on_switch(
    flows: Sequence[Flow], end: End, point: Point, state: str, memory: Mapping[int, Node]
) -> tuple[list[Step], int | None]:
    here = point | {"in_port": end.port, "ct_state": 0, "ct_mark": 0}
    steps: list[Step] = []
    table: int | None
    table = 0
    while table is not None:
        flow = lookup(flows, end.node, table, here)
        steps.append(Step(end.node, table, flow))
        table = None
        if flow is None:
            break
        for action in flow.actions:
            if isinstance(action, Output):
                return steps, action.port
            if isinstance(action, Goto):
                table = action.table
            elif isinstance(action, Conntrack) and action.table is not None:
                table = action.table
                here |= {"ct_state": SAID[state], "ct_mark": _mark(memory.get(action.zone), here, state)}
    return steps, None


def lookup(flows: Iterable[Flow], switch: str, table: int, point: Point) -> Flow | None:
    """The flow that decides about one packet in one table."""
    matching = [flow for flow in flows if flow.switch == switch and flow.table == table and _matches(flow, point)]
    return max(matching, key=lambda flow: flow.priority, default=None)


def _matches(flow: Flow, point: Point) -> bool:
    return all(any(low <= point[NAMES[level]] <= high for low, high in ranges) for level, ranges in constraints(flow))


def _mark(known: Node | None, point: Point, state: str) -> int:
    if known is None or state in ("first", "invalid", "any"):
        return 0
    asked = turned(point) if state == "answer" else point
    while known.level != LEAF:
        known = known.at(asked[NAMES[known.level]])
    return min(known.value, default=0) if known.value is not None else 0


def deciding(steps: Sequence[Step]) -> list[Step]:
    """The steps that follow a question to the connection tracker; without such a question, the last step."""
    asked = [
        after
        for step, after in pairwise(steps)
        if step.flow and any(isinstance(action, Conntrack) and action.table is not None for action in step.flow.actions)
    ]
    return asked or list(steps[-1:])
