"""The policy: one row for every port that is open, everything else shut, wrong rules refused before any switch."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from controllers.policy import DENY_REST, Rule, decide, pairs, policy, validate
from topo.errors import PolicyError
from topo.plan import ANY, DATABASE, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

SEED_RULES = policy(plan_of(Profile()))
SEED = plan_of(Profile())
VISITORS = [host.name for host in SEED.names["internet"]]
SERVERS = [host.name for host in SEED.names["servers"]]
# (from, to, protocol, port) -> the rule that opens it. A change of the policy shows here, one row for each.
OPEN = {
    **{(visitor, "dns", "udp", 53): "dns-udp" for visitor in VISITORS if visitor != "dns"},
    **{(visitor, "dns", "tcp", 53): "dns-tcp" for visitor in VISITORS if visitor != "dns"},
    **{(visitor, "lb", "tcp", 443): "site-https" for visitor in VISITORS},
    **{(visitor, "lb", "tcp", 80): "site-http" for visitor in VISITORS},
    **{(visitor, "lb", "icmp", 8): "site-ping" for visitor in VISITORS},
    **{("lb", server, "tcp", 80): "web" for server in SERVERS},
    **{(server, "lb", "tcp", 3306): "db-write-endpoint" for server in SERVERS},
    ("lb", "srv1", "tcp", 3306): "db-primary",
    **{(server, "srv1", "tcp", 3306): "db-replication" for server in SERVERS[1:]},
    **{("mon", host.name, "icmp", 8): "mon-ping" for host in SEED.hosts if host.name != "mon"},
}
# what any rule speaks of, and some that none does
PORTS = sorted(
    {(proto, port) for _, _, proto, port in OPEN}
    | {("tcp", 22), ("tcp", 6653), ("tcp", 8000), ("udp", 123), ("udp", 443), ("icmp", 13)}
)


def test_what_is_open_and_nothing_else(plan: Plan, rules: tuple[Rule, ...]) -> None:
    hosts = [host.name for host in plan.hosts]
    seen = {
        (src, dst, proto, port): decided.name
        for src, dst in permutations(hosts, 2)
        for proto, port in PORTS
        if (decided := decide(rules, plan, src, dst, proto, port)).action == "allow"
    }
    assert seen == OPEN


def test_the_balancer_s_statistics_are_for_the_network_only_where_nobody_there_reads_them() -> None:
    opened = {
        on: decide(policy(plan_of(Profile(monitoring=on))), SEED, "mon", "lb", "tcp", 8404).name for on in ("on", "off")
    }
    assert opened == {"on": "deny-rest", "off": "lb-statistics"}


def test_a_cluster_opens_its_ports_between_databases_and_nothing_else(plan: Plan) -> None:
    """Of its group no outsider may be a member; and nobody follows a primary any more."""
    servers = [host.name for host in plan.hosts_of(DATABASE)]
    cluster = policy(plan_of(Profile(db="galera")))
    validate(cluster, plan)
    ports = sorted({port for proto, port in PORTS if proto == "tcp"} | {4443, 4444, 4445, 4566, 4567, 4568, 4569})
    changed = {
        (src, dst, port): now.name
        for src, dst in permutations([host.name for host in plan.hosts], 2)
        for port in ports
        if (now := decide(cluster, plan, src, dst, "tcp", port)).action
        != decide(SEED_RULES, plan, src, dst, "tcp", port).action
    }
    group = {4567: "db-group", 4444: "db-transfer", 4568: "db-transfer"}
    assert changed == {
        **{(src, dst, port): name for src, dst in permutations(servers, 2) for port, name in group.items()},
        **{("lb", server, 3306): "db-primary" for server in servers[1:]},
        **{(server, "srv1", 3306): "deny-rest" for server in servers[1:]},
    }


def test_without_firewalls_everything_is_open(plan: Plan) -> None:
    rules = policy(plan_of(Profile(firewall="off")))
    validate(rules, plan)
    assert decide(rules, plan, "attacker", "srv1", "tcp", 22).name == "firewall-off"


def test_the_first_match_wins(plan: Plan) -> None:
    shut = Rule("shut", "attacker", "lb", "tcp", 443, "deny", "an attacker")
    assert decide((shut, *SEED_RULES), plan, "attacker", "lb", "tcp", 443) == shut
    assert decide((shut, *SEED_RULES), plan, "client", "lb", "tcp", 443).name == "site-https"
    late = (*SEED_RULES[:-1], shut, DENY_REST)
    assert decide(late, plan, "attacker", "lb", "tcp", 443).name == "site-https"


def test_a_host_never_talks_to_itself_over_the_network(plan: Plan) -> None:
    rule = Rule("all", ANY, ANY, ANY, None, "allow", "")
    spoken = list(pairs(rule, plan))
    assert len(spoken) == len(plan.hosts) * (len(plan.hosts) - 1)
    assert all(src != dst for src, dst in spoken)


KNOWN = ", ".join(plan_of(Profile()).names)
RULE = Rule("mine", "lb", "srv1", "tcp", 80, "allow", "a test")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            replace(RULE, dst="srv9"),
            f"rule mine: srv9 is no host, zone or group; known: {KNOWN} (did you mean srv3?)",
        ),
        (
            replace(RULE, src="zzzzzz"),
            f"rule mine: zzzzzz is no host, zone or group; known: {KNOWN}",
        ),
        (replace(RULE, proto="sctp"), "rule mine: protocol sctp is none of tcp, udp, icmp, any"),
        (replace(RULE, action="reject"), "rule mine: action reject is none of allow, deny"),
        (replace(RULE, port=65536), "rule mine: port 65536 is not within 0..65535"),
        (replace(RULE, port=-1), "rule mine: port -1 is not within 0..65535"),
        (replace(RULE, proto="icmp", port=256), "rule mine: port 256 is not within 0..255"),
        (replace(RULE, proto=ANY), "rule mine: a port needs a protocol"),
        (replace(RULE, name="web"), "rule web: the name is used twice"),
    ],
)
def test_wrong_rules_are_refused(plan: Plan, rule: Rule, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        validate((rule, *SEED_RULES), plan)
    assert str(caught.value) == f"policy: {said}"


def test_all_problems_are_said_at_once(plan: Plan) -> None:
    wrong = replace(RULE, src="nobody", proto="sctp")
    with pytest.raises(PolicyError, match=r"nobody is no host.*protocol sctp.*last rule must be deny-rest"):
        validate((wrong,), plan)


@pytest.mark.parametrize("rules", [(), (RULE,), (DENY_REST, RULE)])
def test_the_end_is_always_deny(plan: Plan, rules: tuple[Rule, ...]) -> None:
    with pytest.raises(PolicyError, match="the last rule must be deny-rest"):
        validate(rules, plan)
