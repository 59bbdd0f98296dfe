"""The plan: the same for the same profile, a tree, and refused with every contradiction at once."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topo.errors import PlanError
from topo.plan import ANY, BALANCER, DATABASE, MONITOR, NETWORK, RESOLVER, WEB, ZONE_NUMBERS, Host, Plan
from topo.plan import plan as plan_of
from topo.profile import MAX_SERVERS, Profile
from topo.wiring import INTERFACE_LIMIT, End, Hop, Link, Switch

# every host of the seed, in order, and its zone
HOSTS = {
    "client": "internet",
    "attacker": "internet",
    "dns": "internet",
    "lb": "dmz",
    "srv1": "servers",
    "srv2": "servers",
    "srv3": "servers",
    "mon": "monitoring",
}


def test_the_seed_has_the_hosts_and_switches_of_the_write_ups(plan: Plan) -> None:
    assert {host.name: host.zone for host in plan.hosts} == HOSTS
    assert [host.name for host in plan.hosts] == list(HOSTS)
    assert [switch.name for switch in plan.switches] == ["core", "fw1", "fw2", "fw3"]
    assert {switch.guards for switch in plan.switches} == {None, "srv1", "srv2", "srv3"}
    assert [host.name for host in plan.hosts_of(WEB)] == ["srv1", "srv2", "srv3"]
    assert plan.primary.name == "srv1"


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("client", "client"),
        *((zone, " ".join(name for name in HOSTS if HOSTS[name] == zone)) for zone in ZONE_NUMBERS),
        ("primary", "srv1"),
        ("replicas", "srv2 srv3"),
        ("web", "srv1 srv2 srv3"),
        ("app", "srv1 srv2 srv3"),
        ("db", "srv1 srv2 srv3"),
        ("balancer", "lb"),
        ("resolver", "dns"),
        ("monitor", "mon"),
        (ANY, " ".join(HOSTS)),
    ],
)
def test_names_that_rules_may_use(plan: Plan, name: str, members: str) -> None:
    assert [host.name for host in plan.names[name]] == members.split()


@pytest.mark.parametrize(
    ("role", "said"),
    [(DATABASE, "10.0.2.10:3306"), (BALANCER, "10.0.2.10:443"), (RESOLVER, "10.0.1.53:53")],
)
def test_where_a_role_is_reached(plan: Plan, role: str, said: str) -> None:
    """The database takes writes at the balancer."""
    assert str(plan.endpoint(role)) == said


def test_the_web_servers_port_follows_from_who_speaks_tls() -> None:
    ports = {tls: plan_of(Profile(tls=tls)).port(WEB) for tls in ("terminate", "reencrypt", "passthrough", "mutual")}
    assert ports == {"terminate": 80, "reencrypt": 443, "passthrough": 443, "mutual": 443}


def test_a_role_that_is_not_on_one_host_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError, match="role web: on srv1, srv2, srv3; one was expected"):
        plan.endpoint(WEB)
    with pytest.raises(PlanError, match="cook: no such role; roles: client, attacker, resolver, balancer, web, "):
        plan.hosts_of("cook")
    with pytest.raises(PlanError, match="monitor: listens at no port; known: resolver, balancer, "):
        plan.endpoint(MONITOR)


@given(servers=st.integers(1, MAX_SERVERS))
def test_every_number_of_servers_makes_a_plan(servers: int) -> None:
    made = plan_of(Profile(servers=servers))
    assert made == plan_of(Profile(servers=servers))
    assert len(made.hosts_of(WEB)) == servers
    assert len(made.names["replicas"]) == servers - 1
    assert len({host.ip for host in made.hosts}) == len({host.mac for host in made.hosts}) == len(made.hosts)
    assert all(ipaddress.ip_address(host.ip) in NETWORK for host in made.hosts)
    assert all(len(end.interface) <= INTERFACE_LIMIT for link in made.links for end in link.ends)
    assert all(made.is_switch(link.a.node) for link in made.links)
    assert made.policed_by("client", f"srv{servers}") == (f"fw{servers}",)


def test_a_path_is_the_way_back_reversed(plan: Plan) -> None:
    for src, dst in permutations([host.name for host in plan.hosts], 2):
        there, back = plan.path(src, dst), plan.path(dst, src)
        assert back == tuple(Hop(hop.switch, hop.out_port, hop.in_port) for hop in reversed(there))


@pytest.mark.parametrize(
    ("src", "dst", "switches", "policed"),
    [
        ("client", "lb", "core", "core"),
        ("client", "srv1", "core fw1", "fw1"),
        ("srv2", "mon", "fw2 core", "fw2"),
        ("srv1", "srv3", "fw1 core fw3", "fw1 fw3"),
    ],
)
def test_who_decides_about_a_conversation(plan: Plan, src: str, dst: str, switches: str, policed: str) -> None:
    assert [hop.switch for hop in plan.path(src, dst)] == switches.split()
    assert list(plan.policed_by(src, dst)) == policed.split()


def test_behind_each_port_of_a_switch_are_all_hosts_once(plan: Plan) -> None:
    for switch in plan.switches:
        seen = [host.name for end, _ in plan.links_of(switch.name) for host in plan.behind(end)]
        assert sorted(seen) == sorted(host.name for host in plan.hosts)


def test_unknown_names_are_refused_with_the_known_ones(plan: Plan) -> None:
    with pytest.raises(PlanError, match=f"srv9: no such host; hosts: {', '.join(HOSTS)}"):
        plan.host("srv9")
    with pytest.raises(PlanError, match="core: no such host"):
        plan.host("core")
    with pytest.raises(PlanError, match="srv1: no such switch; switches: core, fw1, fw2, fw3"):
        plan.switch("srv1")


def _with_host(plan: Plan, name: str, **changes: str) -> Plan:
    hosts = tuple(replace(host, **changes) if host.name == name else host for host in plan.hosts)
    return replace(plan, hosts=hosts)


def test_a_duplicate_address_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError, match=r"^plan: address 10\.0\.2\.10 is used 2 times$"):
        _with_host(plan, "mon", ip=plan.host("lb").ip)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mac": "02:00:00:00:02:0a"}, "MAC address 02:00:00:00:02:0a is used 2 times"),
        ({"ip": "192.168.0.1"}, "mon's address 192.168.0.1 lies outside 10.0.0.0/16"),
        ({"zone": "cellar"}, "mon is in zone cellar, which does not exist"),
    ],
)
def test_a_wrong_host_is_refused(plan: Plan, changes: dict[str, str], said: str) -> None:
    with pytest.raises(PlanError) as caught:
        _with_host(plan, "mon", **changes)
    assert str(caught.value) == f"plan: {said}"


def test_two_links_on_one_port_and_a_cut_link_are_refused(plan: Plan) -> None:
    first, second, *rest = plan.links
    with pytest.raises(PlanError, match="port core port 1 is used 2 times"):
        replace(plan, links=(first, replace(second, a=first.a), *rest))
    with pytest.raises(PlanError, match="the links do not join all hosts and switches into one tree"):
        replace(plan, links=plan.links[:-1])


def test_a_link_to_nowhere_and_a_long_name_are_refused() -> None:
    core, host = Switch("core", 1), Host("a", "internet", "10.0.1.1", "02:00:00:00:01:01", "nothing")
    with pytest.raises(PlanError, match="a link ends at b, which is neither a host nor a switch"):
        Plan((core,), (Link(End("core", 1), End("b", 0)),), (host,), Profile())
    long = Switch("a-very-long-switch", 1)
    with pytest.raises(PlanError, match="interface name a-very-long-switch-eth1 is longer than 15 characters"):
        Plan((long,), (Link(End(long.name, 1), End("a", 0)),), (host,), Profile())


def test_all_problems_are_said_at_once(plan: Plan) -> None:
    with pytest.raises(PlanError) as caught:
        replace(_with_host(plan, "mon", zone="servers"), hosts=(plan.hosts[0], plan.hosts[0]))
    assert "name client is used 2 times" in str(caught.value)
    assert "tree" in str(caught.value)
