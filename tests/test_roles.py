"""Roles spread differently are another plan, not other code: everything that follows from a plan follows from these."""

from __future__ import annotations

import ipaddress
import json
import re
from itertools import permutations

import pytest

from controllers.compile import compile_flows
from controllers.policy import decide, policy, validate
from controllers.verify.advice import advice
from controllers.verify.proof import Proof
from services import deployment
from services.secrets import fresh
from services.service import Service
from topo.plan import (
    APP,
    ATTACKER,
    BALANCER,
    CLIENT,
    DATABASE,
    MONITOR,
    RESOLVER,
    ROLES,
    WEB,
    Placement,
    Plan,
    host,
)
from topo.plan import plan as plan_of
from topo.profile import Profile

OTHERS = (
    host("client", "internet", 10, "a visitor", CLIENT),
    host("attacker", "internet", 66, "tools", ATTACKER),
    host("names", "internet", 53, "NSD", RESOLVER),
    host("front", "dmz", 10, "HAProxy", BALANCER),
    host("watch", "monitoring", 10, "the monitoring host", MONITOR),
)
PLACEMENTS: dict[str, Placement] = {
    "each role on a host of its own": (
        *OTHERS,
        host("w", "servers", 11, "nginx", WEB),
        host("a", "servers", 12, "application", APP),
        host("d", "servers", 13, "MariaDB", DATABASE),
    ),
    "web twice, database once": (
        *OTHERS,
        host("w1", "servers", 11, "nginx, application", WEB, APP),
        host("w2", "servers", 12, "nginx, application", WEB, APP),
        host("d", "servers", 13, "MariaDB", DATABASE),
    ),
    "a tier of two each": (
        *OTHERS,
        host("w1", "servers", 11, "nginx", WEB),
        host("w2", "servers", 12, "nginx", WEB),
        host("a1", "servers", 13, "application", APP),
        host("a2", "servers", 14, "application", APP),
        host("d1", "servers", 15, "MariaDB (primary)", DATABASE),
        host("d2", "servers", 16, "MariaDB (replica)", DATABASE),
    ),
    "an application beside the database": (
        *OTHERS,
        host("w", "servers", 11, "nginx", WEB),
        host("s", "servers", 12, "application, MariaDB", APP, DATABASE),
        host("r", "servers", 13, "MariaDB (replica)", DATABASE),
    ),
}
PROFILES = {
    "seed": Profile(),
    "reencrypt": Profile(tls="reencrypt"),
    "mutual": Profile(tls="mutual", db="semisync", health="fast"),
    "passthrough": Profile(tls="passthrough", db="async"),
    "galera": Profile(db="galera"),
    "open": Profile(firewall="off"),
}
EVERY = [pytest.param(placement, id=name) for name, placement in PLACEMENTS.items()]


def services_of(plan: Plan) -> dict[str, Service]:
    services = deployment.host_services(plan, plan.profile, fresh(plan, plan.profile))
    return {service.id: service for service in services}


def names(plan: Plan, role: str) -> frozenset[str]:
    return frozenset(host.name for host in plan.hosts_of(role))


def watched(plan: Plan) -> frozenset[str]:
    return frozenset(host.name for host in plan.watched)


def beside(plan: Plan) -> dict[str, frozenset[str]]:
    """The hosts of each service that is no host's role itself, by its name: it runs where a role is."""
    others = [service for service in services_of(plan).values() if service.role not in ROLES]
    return {role: frozenset(each.host for each in others if each.role == role) for role in {e.role for e in others}}


def text(service: Service) -> str:
    return "\n".join(file.text for file in service.files())


def decided(plan: Plan, src: str, dst: str, port: int) -> bool:
    return decide(policy(plan), plan, src, dst, "tcp", port).action == "allow"


@pytest.mark.parametrize("placement", EVERY)
def test_to_the_firewalls_mutual_and_passthrough_are_one(placement: Placement) -> None:
    """So it is enough to prove one of them."""
    mutual, passthrough = (plan_of(PROFILES[name], placement) for name in ("mutual", "passthrough"))
    assert policy(mutual) == policy(passthrough)
    assert compile_flows(mutual, policy(mutual)) == compile_flows(passthrough, policy(passthrough))


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "passthrough"])
@pytest.mark.parametrize("placement", EVERY)
def test_the_flows_are_proved_to_be_the_policy(placement: Placement, name: str) -> None:
    plan = plan_of(PROFILES[name], placement)
    rules = policy(plan)
    validate(rules, plan)
    assert Proof(plan).check(compile_flows(plan, rules), rules).holds


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("placement", EVERY)
def test_every_service_is_configured_where_its_role_is(placement: Placement, profile: Profile) -> None:
    plan = plan_of(profile, placement)
    services = services_of(plan)
    served = (RESOLVER, BALANCER, WEB, APP, DATABASE)
    placed = {f"{host.name}/{role}" for host in placement for role in host.roles if role in served}
    assert {service.id for service in services.values() if service.role in ROLES} == placed
    usual = plan_of(profile)
    here, there = beside(plan), beside(usual)
    assert here.keys() == there.keys() >= ({"failover"} if profile.managed else set())
    for name, hosts in here.items():
        by_role = [(names(plan, role), names(usual, role)) for role in ROLES]
        assert (hosts, there[name]) in [*by_role, (watched(plan), watched(usual))], name
    addresses = {host.ip for host in plan.hosts}
    for service in services.values():
        assert service.files()
        assert service.command()
        assert set(re.findall(r"\b10\.0\.\d+\.\d+\b", text(service))) <= addresses, service.id


@pytest.mark.parametrize("profile", [Profile(), Profile(tls="mutual", db="semisync")], ids=["seed", "mutual"])
@pytest.mark.parametrize("placement", EVERY)
def test_what_a_configuration_names_the_policy_lets_through(placement: Placement, profile: Profile) -> None:
    """nginx -> application, application -> database: named in the configuration and open, or on the same host."""
    plan = plan_of(profile, placement)
    services = services_of(plan)
    by_ip = {host.ip: host.name for host in plan.hosts}
    for web in plan.hosts_of(WEB):
        named = re.findall(r"^        server ([\d.]+):(\d+);", text(services[f"{web.name}/{WEB}"]), re.MULTILINE)
        assert named
        for address, port in named:
            beside = ipaddress.ip_address(address).is_loopback
            assert beside == plan.together(WEB, APP)
            assert APP in (web if beside else plan.host(by_ip[address])).roles
            assert beside or decided(plan, web.name, by_ip[address], int(port))
    for app in plan.hosts_of(APP):
        site = json.loads(services[f"{app.name}/{APP}"].files()[1].text)
        read, write = site["read"], site["write"]
        assert by_ip[write["host"]] == "front"
        assert decided(plan, app.name, "front", write["port"])
        if "host" not in read:
            assert DATABASE in app.roles
            continue
        assert DATABASE in plan.host(by_ip[read["host"]]).roles
        assert decided(plan, app.name, by_ip[read["host"]], read["port"])
        assert ("ca" in read) == (profile.tls == "mutual")
        accounts = text(services[f"{by_ip[read['host']]}/{DATABASE}"])
        assert f"app_read@'{app.ip}'" in accounts


@pytest.mark.parametrize("placement", EVERY)
def test_nothing_more_is_open_between_servers_than_the_tiers_need(placement: Placement) -> None:
    plan = plan_of(Profile(), placement)
    web, app, db = (plan.port(role) for role in (WEB, APP, DATABASE))
    servers = [host for host in plan.hosts if host.zone == "servers"]
    opened = {
        (src.name, dst.name, port)
        for src, dst in permutations(servers, 2)
        for port in (web, app, db)
        if decided(plan, src.name, dst.name, port)
    }
    tiers = {
        (src.name, dst.name, port)
        for src, dst in permutations(servers, 2)
        for one, other, port in ((WEB, APP, app), (APP, DATABASE, db))
        if not plan.together(one, other) and one in src.roles and other in dst.roles
    }
    replicas = {(replica.name, plan.primary.name, db) for replica in plan.names["replicas"]}
    assert opened == tiers | replicas


@pytest.mark.parametrize("placement", EVERY)
def test_no_rule_is_there_in_vain(placement: Placement) -> None:
    plan = plan_of(Profile(), placement)
    said = [line for line in advice(policy(plan), plan) if not line.startswith("db-replication: applies to no hosts")]
    assert said == []


def test_the_balancer_sends_each_request_where_the_role_is() -> None:
    plan = plan_of(Profile(), PLACEMENTS["each role on a host of its own"])
    shown = text(services_of(plan)["front/balancer"])
    assert re.findall(r"^    server (\S+) (\S+)", shown, re.MULTILINE) == [
        ("w", "10.0.3.11:80"),
        ("d", "10.0.3.13:3306"),
    ]
    zone = text(services_of(plan)["names/resolver"])
    assert "IN NS  names" in zone
    assert "www     IN A   10.0.2.10" in zone
