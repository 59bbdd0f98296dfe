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
test that follows from it. What runs where is said by the hosts' roles: code asks for ``hosts_of(WEB)`` or
``endpoint(DATABASE)``, never for a host by its name.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from topo.errors import PlanError
from topo.profile import Profile
from topo.tls import means

DOMAIN = "foobar.com"
SITE = f"www.{DOMAIN}"
NETWORK = ipaddress.ip_network("10.0.0.0/16")
REVERSE_DOMAIN = "0.10.in-addr.arpa"
ZONE_NUMBERS = {"internet": 1, "dmz": 2, "servers": 3, "monitoring": 4}
INTERFACE_LIMIT = 15
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
}


@dataclass(frozen=True)
class Host:
    """One emulated machine. ``ip`` is dotted, ``mac`` is lower-case with colons; ``duty``: what it is there for.

    ``roles``: what runs there, and so what it is asked for.
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
class Switch:
    """One Open vSwitch bridge. ``guards`` names the host a firewall stands in front of; ``number`` is unique."""

    name: str
    number: int
    guards: str | None = None

    @property
    def dpid(self) -> int:
        return self.number


@dataclass(frozen=True)
class End:
    """Where a link meets a node: the port number is OpenFlow's on a switch and 0 on a host."""

    node: str
    port: int

    @property
    def interface(self) -> str:
        return f"{self.node}-eth{self.port}"


@dataclass(frozen=True)
class Link:
    """``a`` is the end nearer to the core: always a switch."""

    a: End
    b: End

    @property
    def ends(self) -> tuple[End, End]:
        return (self.a, self.b)


@dataclass(frozen=True)
class Hop:
    """A packet's passage through one switch."""

    switch: str
    in_port: int
    out_port: int


@dataclass(frozen=True)
class Endpoint:
    """Where a role is reached by the others."""

    host: Host
    port: int

    @property
    def ip(self) -> str:
        return self.host.ip

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}"


@dataclass(frozen=True)
class Plan:
    """The whole topology of a profile."""

    profile: Profile
    hosts: tuple[Host, ...]
    switches: tuple[Switch, ...]
    links: tuple[Link, ...]

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise PlanError("plan: " + "; ".join(problems))

    @property
    def nodes(self) -> tuple[Host | Switch, ...]:
        """Hosts, then switches."""
        return (*self.hosts, *self.switches)

    @cached_property
    def _nodes(self) -> dict[str, Host | Switch]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _neighbours(self) -> dict[str, list[tuple[End, End]]]:
        """For each node: (own end, far end) of every link that it has."""
        table: dict[str, list[tuple[End, End]]] = {name: [] for name in self._nodes}
        for link in self.links:
            table[link.a.node].append((link.a, link.b))
            table[link.b.node].append((link.b, link.a))
        return table

    def host(self, name: str) -> Host:
        """The host of that name. Raises PlanError, naming the possible ones."""
        node = self._nodes.get(name)
        if not isinstance(node, Host):
            raise PlanError(f"{name}: no such host; hosts: {', '.join(host.name for host in self.hosts)}")
        return node

    def switch(self, name: str) -> Switch:
        """The switch of that name. Raises PlanError, naming the possible ones."""
        node = self._nodes.get(name)
        if not isinstance(node, Switch):
            raise PlanError(f"{name}: no such switch; switches: {', '.join(each.name for each in self.switches)}")
        return node

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

    def host_of(self, role: str) -> Host:
        """The one host with that role. Raises PlanError when there is none, or more than one."""
        hosts = self.hosts_of(role)
        if len(hosts) != 1:
            raise PlanError(f"role {role}: on {', '.join(host.name for host in hosts) or 'no host'}; one was expected")
        return hosts[0]

    def port(self, role: str) -> int:
        """The port at which a role listens, or another port of one (STATISTICS, ...)."""
        ports = PORTS | {WEB: PORTS[BALANCER if means(self.profile).inside else HTTP]}
        if role not in ports:
            raise PlanError(f"{role}: listens at no port; known: {', '.join(ports)}")
        return ports[role]

    def endpoint(self, role: str) -> Endpoint:
        """Where others reach the one host of a role; the database where it takes writes: on the balancer."""
        return Endpoint(self.host_of(BALANCER if role == DATABASE else role), self.port(role))

    @property
    def servers(self) -> tuple[Host, ...]:
        return self.names["servers"]

    @property
    def primary(self) -> Host:
        """The host whose database takes the writes at boot."""
        return self.hosts_of(DATABASE)[0]

    def links_of(self, node: str) -> list[tuple[End, End]]:
        """(own end, far end) of each of a node's links."""
        return self._neighbours[node]

    def behind(self, end: End) -> list[Host]:
        """The hosts whose packets reach ``end.node`` through that port, in the order of ``hosts``."""
        far = next(far for own, far in self._neighbours[end.node] if own == end)
        names, frontier = set(), [(far.node, end.node)]
        while frontier:
            node, came_from = frontier.pop()
            names.add(node)
            frontier += [(on.node, node) for _, on in self._neighbours[node] if on.node != came_from]
        return [host for host in self.hosts if host.name in names]

    def is_switch(self, node: str) -> bool:
        return isinstance(self._nodes[node], Switch)

    def path(self, src: str, dst: str) -> tuple[Hop, ...]:
        """The switches between two hosts, in order. The plan is a tree, so there is one path."""
        ends = self._walk(src, dst, came_from=None)
        assert ends is not None, "a valid plan is connected"
        return tuple(
            Hop(arrive.node, arrive.port, leave.port) for arrive, leave in zip(ends[1:-1:2], ends[2::2], strict=True)
        )

    def _walk(self, node: str, goal: str, came_from: str | None) -> list[End] | None:
        """Ends passed on the way from ``node`` to ``goal``: leave, arrive, leave, arrive, ..."""
        if node == goal:
            return []
        for own, far in self._neighbours[node]:
            if far.node != came_from and (rest := self._walk(far.node, goal, node)) is not None:
                return [own, far, *rest]
        return None

    def policed_by(self, src: str, dst: str) -> tuple[str, ...]:
        """The switches that decide about traffic between two hosts.

        The firewalls on the path, each for itself; where no firewall stands on the path, ``core``.
        """
        switches = [self.switch(hop.switch) for hop in self.path(src, dst)]
        return tuple(each.name for each in switches if each.guards) or (switches[0].name,)


def plan(profile: Profile) -> Plan:
    """The plan for a profile: pure, and the same for the same profile."""
    servers = [f"srv{number}" for number in range(1, profile.servers + 1)]
    duties = ["cluster"] * len(servers) if profile.cluster else ["primary", *["replica"] * (len(servers) - 1)]
    hosts = (
        _host("client", "internet", 10, "a visitor", CLIENT),
        _host("attacker", "internet", 66, "nmap, hping3, Scapy", ATTACKER),
        _host("dns", "internet", 53, f"NSD, authoritative for {DOMAIN}", RESOLVER),
        _host("lb", "dmz", 10, "HAProxy: TLS, balancing, DB writes", BALANCER),
        *(
            _host(name, "servers", 10 + number, f"nginx, application, MariaDB ({duty})", WEB, APP, DATABASE)
            for number, (name, duty) in enumerate(zip(servers, duties, strict=True), start=1)
        ),
        _host("mon", "monitoring", 10, "the monitoring host", MONITOR),
    )
    core = Switch("core", 1)
    firewalls = tuple(Switch(f"fw{number}", 1 + number, guards=name) for number, name in enumerate(servers, start=1))
    direct = [host.name for host in hosts if host.name not in servers]
    links = [Link(End(core.name, port), End(name, 0)) for port, name in enumerate(direct, start=1)]
    for port, firewall in enumerate(firewalls, start=len(direct) + 1):
        links.append(Link(End(core.name, port), End(firewall.name, 1)))
        links.append(Link(End(firewall.name, 2), End(str(firewall.guards), 0)))
    return Plan(profile, hosts, (core, *firewalls), tuple(links))


def _host(name: str, zone: str, number: int, duty: str, *roles: str) -> Host:
    zone_number = ZONE_NUMBERS[zone]
    ip = NETWORK.network_address + (zone_number << 8) + number
    return Host(name, zone, str(ip), f"02:00:00:00:{zone_number:02x}:{number:02x}", duty, roles)


def _problems(plan: Plan) -> Iterable[str]:
    """Everything that contradicts itself, all at once."""
    names = [node.name for node in plan.nodes]
    yield from _twice("name", names)
    yield from _twice("address", [host.ip for host in plan.hosts])
    yield from _twice("MAC address", [host.mac for host in plan.hosts])
    yield from _twice("switch number", [each.number for each in plan.switches])
    ends = [end for link in plan.links for end in link.ends]
    yield from _twice("port", [f"{end.node} port {end.port}" for end in ends])
    for end in ends:
        if end.node not in names:
            yield f"a link ends at {end.node}, which is neither a host nor a switch"
        if len(end.interface) > INTERFACE_LIMIT:
            yield f"interface name {end.interface} is longer than {INTERFACE_LIMIT} characters"
    for host in plan.hosts:
        if host.zone not in ZONE_NUMBERS:
            yield f"{host.name} is in zone {host.zone}, which does not exist"
        if ipaddress.ip_address(host.ip) not in NETWORK:
            yield f"{host.name}'s address {host.ip} lies outside {NETWORK}"
    if len(plan.links) != len(names) - 1 or not _connected(plan, names):
        yield "the links do not join all hosts and switches into one tree"


def _twice(what: str, values: Iterable[object]) -> Iterable[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{what} {value} is used {count} times"


def _connected(plan: Plan, names: list[str]) -> bool:
    reached, frontier = set(), [names[0]]
    while frontier:
        node = frontier.pop()
        reached.add(node)
        frontier += [
            end.node
            for link in plan.links
            if node in (link.a.node, link.b.node)
            for end in link.ends
            if end.node not in reached
        ]
    return reached >= set(names)
