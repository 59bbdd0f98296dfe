"""The plan: every host, switch, link, address and port number of the testbed, as values. No network needed.

                     client   attacker   dns                     zone internet
                        |         |       |
                        +----.    |    .--+
                             |    |    |
          mon -------------- [  core   ] -------------- lb       zones monitoring, dmz
                             |    |    |
                          [fw1] [fw2] [fw3]                      the three firewalls
                             |    |    |
                           srv1  srv2  srv3                      zone servers

This is the only file with an address or a port number in it. Changing one here changes every configuration, flow and
test that follows from it. A host's roles say what runs there: code asks for ``hosts_of(WEB)`` or
``endpoint(DATABASE)``, never for a host by its name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from topo.errors import PlanError
from topo.profile import Profile
from topo.tls import means
from topo.wiring import End, Link, Switch, Wiring, twice

DOMAIN = "foobar.com"
SITE = f"www.{DOMAIN}"
NETWORK = ipaddress.ip_network("10.0.0.0/16")
REVERSE_DOMAIN = "0.10.in-addr.arpa"
ZONE_NUMBERS = {"internet": 1, "dmz": 2, "servers": 3, "monitoring": 4}
ANY = "any"

CLIENT, ATTACKER, RESOLVER, BALANCER, WEB, APP, DATABASE, MONITOR = ROLES = (
    "client",
    "attacker",
    "resolver",
    "balancer",
    "web",
    "app",
    "db",
    "monitor",
)
# ports that a role has beside its own
HTTP, STATISTICS, RUNTIME = "http", "statistics", "runtime"
GROUP, TRANSFER, INCREMENTAL = "group", "transfer", "incremental"
METRICS, LOGS = "metrics", "logs"
PORTS = {
    RESOLVER: 53,
    BALANCER: 443,
    HTTP: 80,
    STATISTICS: 8404,
    RUNTIME: 9999,
    APP: 8000,
    DATABASE: 3306,
    GROUP: 4567,
    TRANSFER: 4444,
    INCREMENTAL: 4568,
    METRICS: 9090,
    LOGS: 2514,
}
#: the roles whose hosts have a monitoring client
WATCHED = (BALANCER, RESOLVER, WEB, APP, DATABASE, MONITOR)


@dataclass(frozen=True)
class Host:
    """One emulated machine. ``ip`` is dotted, ``mac`` is lower-case with colons; ``duty``: its purpose, in words.

    ``roles``: the parts of the site that run there.
    """

    name: str
    zone: str
    ip: str
    mac: str
    duty: str
    roles: tuple[str, ...] = ()

    @property
    def interface(self) -> str:
        return f"{self.name}-eth0"

    @property
    def reverse_name(self) -> str:
        """The name under which DNS knows the address."""
        return ipaddress.ip_address(self.ip).reverse_pointer


@dataclass(frozen=True)
class Endpoint:
    """An address and a port at which a role is reached."""

    host: Host
    port: int

    @property
    def ip(self) -> str:
        return self.host.ip

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


@dataclass(frozen=True)
class Plan(Wiring):
    """The whole topology of a profile."""

    hosts: tuple[Host, ...]
    profile: Profile

    def __post_init__(self) -> None:
        problems = list(self.problems())
        if problems:
            raise PlanError("plan: " + "; ".join(problems))

    @property
    def nodes(self) -> tuple[Host | Switch, ...]:
        """Hosts, then switches."""
        return (*self.hosts, *self.switches)

    @cached_property
    def _hosts(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    def host(self, name: str) -> Host:
        """The host of that name. Raises PlanError, naming the possible ones."""
        if name not in self._hosts:
            raise PlanError(f"{name}: no such host; hosts: {', '.join(self._hosts)}")
        return self._hosts[name]

    def switch(self, name: str) -> Switch:
        """The switch of that name. Raises PlanError, naming the possible ones."""
        if name not in self._switches:
            raise PlanError(f"{name}: no such switch; switches: {', '.join(self._switches)}")
        return self._switches[name]

    @cached_property
    def names(self) -> dict[str, tuple[Host, ...]]:
        """Everything a rule may name: each host, each zone, each role, the primary and the replicas, and ``any``.

        A host's name that is a role's too (``client``) means the host.
        """
        databases = self.hosts_of(DATABASE)
        own = {host.name: (host,) for host in self.hosts}
        return {
            **own,
            **{zone: tuple(host for host in self.hosts if host.zone == zone) for zone in ZONE_NUMBERS},
            "primary": databases[:1],
            "replicas": databases[1:],
            **{role: self.hosts_of(role) for role in ROLES if role not in own},
            ANY: self.hosts,
        }

    def hosts_of(self, role: str) -> tuple[Host, ...]:
        """The hosts with that role, in the order of ``hosts``. Raises PlanError for what is no role."""
        if role not in ROLES:
            raise PlanError(f"{role}: no such role; roles: {', '.join(ROLES)}")
        return tuple(host for host in self.hosts if role in host.roles)

    @property
    def watched(self) -> tuple[Host, ...]:
        """The hosts with a monitoring client, in the order of ``hosts``; none where nothing is monitored."""
        if not self.profile.monitored:
            return ()
        return tuple(host for host in self.hosts if set(WATCHED) & set(host.roles))

    def host_of(self, role: str) -> Host:
        """The one host with that role. Raises PlanError when there is none, or more than one."""
        hosts = self.hosts_of(role)
        if len(hosts) != 1:
            raise PlanError(f"role {role}: on {', '.join(host.name for host in hosts) or 'no host'}; one was expected")
        return hosts[0]

    def together(self, role: str, other: str) -> bool:
        """True if every host with a role has the other one too, and so reaches it without the network."""
        return all(other in host.roles for host in self.hosts_of(role))

    def port(self, role: str) -> int:
        """The port at which a role listens, or another port of one (STATISTICS, ...)."""
        ports = PORTS | {WEB: PORTS[BALANCER if means(self.profile).backend_tls else HTTP]}
        if role not in ports:
            raise PlanError(f"{role}: listens at no port; known: {', '.join(ports)}")
        return ports[role]

    def endpoint(self, role: str) -> Endpoint:
        """The address of the one host of a role; the database's is where it takes writes: on the balancer."""
        return Endpoint(self.host_of(BALANCER if role == DATABASE else role), self.port(role))

    @property
    def primary(self) -> Host:
        """The host whose database takes the writes at boot."""
        return self.hosts_of(DATABASE)[0]

    def behind(self, end: End) -> list[Host]:
        """The hosts whose packets reach ``end.node`` through that port, in the order of ``hosts``."""
        names = self.beyond(end)
        return [host for host in self.hosts if host.name in names]

    def problems(self) -> Iterator[str]:
        """Everything that contradicts itself."""
        yield from twice("name", [node.name for node in self.nodes])
        yield from twice("address", [host.ip for host in self.hosts])
        yield from twice("MAC address", [host.mac for host in self.hosts])
        for host in self.hosts:
            if host.zone not in ZONE_NUMBERS:
                yield f"{host.name} is in zone {host.zone}, which does not exist"
            if ipaddress.ip_address(host.ip) not in NETWORK:
                yield f"{host.name}'s address {host.ip} lies outside {NETWORK}"
            for role in host.roles:
                if role not in ROLES:
                    yield f"{host.name} has the role {role}, which does not exist"
        yield from self.wiring_problems([host.name for host in self.hosts])


Placement: TypeAlias = tuple[Host, ...]


def host(name: str, zone: str, number: int, duty: str, *roles: str) -> Host:
    """A host of a placement: its address and its MAC address follow from its zone and its number there."""
    zone_number = ZONE_NUMBERS[zone]
    ip = NETWORK.network_address + (zone_number << 8) + number
    return Host(name, zone, str(ip), f"02:00:00:00:{zone_number:02x}:{number:02x}", duty, roles)


def stacked(profile: Profile) -> Placement:
    """The hosts of ``--layout stacked``, each with its zone, its number there and its purpose."""
    servers = range(1, profile.servers + 1)
    duties = ["cluster"] * len(servers) if profile.cluster else ["primary", *["replica"] * (len(servers) - 1)]
    return (
        host("client", "internet", 10, "a visitor", CLIENT),
        host("attacker", "internet", 66, "nmap, hping3, Scapy", ATTACKER),
        host("dns", "internet", 53, f"NSD, authoritative for {DOMAIN}", RESOLVER),
        host("lb", "dmz", 10, "HAProxy: TLS, balancing, DB writes", BALANCER),
        *(
            host(f"srv{number}", "servers", 10 + number, f"nginx, application, MariaDB ({duty})", WEB, APP, DATABASE)
            for number, duty in zip(servers, duties, strict=True)
        ),
        host("mon", "monitoring", 10, "the monitoring host", MONITOR),
    )


def plan(profile: Profile, placement: Placement | None = None) -> Plan:
    """The plan for a profile: pure, and the same for the same profile. ``placement``: other hosts, or other roles.

    A host of the zone ``servers`` stands behind a firewall of its own; all others hang on the core switch.
    """
    hosts = stacked(profile) if placement is None else placement
    core, guarded = Switch("core", 1), [host.name for host in hosts if host.zone == "servers"]
    firewalls = tuple(Switch(f"fw{number}", 1 + number, guards=name) for number, name in enumerate(guarded, start=1))
    direct = [host.name for host in hosts if host.name not in guarded]
    links = [Link(End(core.name, port), End(name, 0)) for port, name in enumerate(direct, start=1)]
    for port, firewall in enumerate(firewalls, start=len(direct) + 1):
        links.append(Link(End(core.name, port), End(firewall.name, 1)))
        links.append(Link(End(firewall.name, 2), End(str(firewall.guards), 0)))
    return Plan((core, *firewalls), tuple(links), hosts, profile)
