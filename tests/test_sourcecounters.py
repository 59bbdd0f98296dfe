"""Packets are counted for the host that only can have sent them."""

from __future__ import annotations

from controllers import sourcecounters
from controllers.compile import OWN_COOKIES, cookie_name
from controllers.flow import Flow
from controllers.ovs.flowcounters import FlowCount
from controllers.policy import Rule
from topo.plan import Plan


def counted(
    plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...], met: dict[str, int]
) -> dict[str, dict[str, int]]:
    """Every compiled flow has matched as many packets as ``met`` says for its cookie's name, on every switch."""
    names = {rule.name: rule.action for rule in rules}
    own = {flow.cookie for flow in flows if flow.drops}
    actions = {
        flow.cookie: (name, names.get(name, "deny"))
        for flow in flows
        if (name := cookie_name(flow.cookie, rules)) in names or flow.cookie in own
    }
    by_switch: dict[str, list[FlowCount]] = {}
    for flow in flows:
        match = {key: value for key, value in flow.match if not isinstance(value, tuple)}
        src, dst = (str(match[key]) if key in match else None for key in ("ipv4_src", "ipv4_dst"))
        port = int(str(match["in_port"])) if "in_port" in match else None
        proto = int(str(match["ip_proto"])) if "ip_proto" in match else None
        packets = met.get(cookie_name(flow.cookie, rules), 0)
        by_switch.setdefault(flow.switch, []).append(FlowCount(flow.cookie, packets, port, src, dst, proto))
    return sourcecounters.by_source(plan, actions, by_switch)


def test_each_host_is_counted_at_its_own_port(plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> None:
    told = counted(plan, rules, flows, {"bound": 10, "spoofed": 3, "site-https": 2, "site-ping": 1, "deny-rest": 5})
    firewalls = sum(bool(switch.guards) for switch in plan.switches)
    for name in ("attacker", "client"):
        assert told[name] == {"sent": 10, "forged": 3, "begun": 2, "loose": 2, "refused": 5 + 10 * firewalls}
    assert told["lb"]["sent"] == told["srv1"]["sent"] == 10
    assert told["mon"]["refused"] == 5, "the firewalls let some of its packets pass"
    assert set(told) == {host.name for host in plan.hosts}


def test_another_hosts_packets_are_not_its_own(plan: Plan) -> None:
    attacker, (bound,) = plan.host("attacker"), [OWN_COOKIES["bound"]]
    port = next(end.port for end, _ in plan.links_of("core") if attacker in plan.behind(end))
    flows = {"core": [FlowCount(bound, 7, port, attacker.ip, None), FlowCount(bound, 7, port + 1, attacker.ip, None)]}
    assert sourcecounters.by_source(plan, {}, flows)["attacker"] == {"sent": 7}


def test_what_a_block_drops_is_no_more_evidence(plan: Plan) -> None:
    attacker, (block,) = plan.host("attacker"), [OWN_COOKIES["block"]]
    counts = {"core": [FlowCount(block, 7, 2, attacker.ip, None)]}
    assert sourcecounters.by_source(plan, {block: ("block", "deny")}, counts)["attacker"] == {"sent": 0}
