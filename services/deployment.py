"""Every service of a testbed, listed by hand: the place to add one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controllers.flow import Flow
from controllers.policy import Rule
from services.controller import Controller
from services.detection.sentinel import Sentinel
from services.failover.manager import Failover
from services.gunicorn import Gunicorn
from services.haproxy import HAProxy
from services.mariadb.galera import Galera
from services.mariadb.mariadb import SOCKET as DATABASE_SOCKET
from services.mariadb.mariadb import MariaDB
from services.monitoring.exporter import Exporter
from services.monitoring.logcollector import LogCollector
from services.monitoring.logshipper import LogShipper
from services.monitoring.prometheus import Prometheus
from services.monitoring.vmagent import Vmagent
from services.nginx import Nginx
from services.nsd import Nsd
from services.openvswitch import OvsdbServer, Vswitchd
from services.secrets import Secrets
from services.service import Service
from topo.paths import BOX
from topo.plan import APP, BALANCER, DATABASE, MONITOR, RESOLVER, WEB, Plan
from topo.profile import Profile


def network_services(plan: Plan, rules: tuple[Rule, ...], flows: tuple[Flow, ...]) -> tuple[Service, ...]:
    """The services that carry and police the packets; they run in the box, on no host."""
    return (OvsdbServer(BOX), Vswitchd(BOX), Controller(BOX, plan, rules, flows))


def host_services(plan: Plan, profile: Profile, secrets: Secrets) -> tuple[Service, ...]:
    """The services on the hosts, the slowest to start first."""
    database = Galera if profile.cluster else MariaDB
    services: tuple[tuple[str, Callable[[str], Service]], ...] = (
        (DATABASE, lambda host: database(host, plan, profile, secrets)),
        (APP, lambda host: Gunicorn(host, plan, profile, secrets, DATABASE_SOCKET)),
        (WEB, lambda host: Nginx(host, plan, profile, secrets)),
        (BALANCER, lambda host: HAProxy(host, plan, profile, secrets)),
        (RESOLVER, lambda host: Nsd(host, plan)),
        *(((MONITOR, lambda host: Failover(host, plan, profile, secrets)),) if profile.managed else ()),
    )
    site = tuple(service(host.name) for role, service in services for host in plan.hosts_of(role))
    return (*site, *_monitoring(plan, profile, secrets, site))


def _monitoring(plan: Plan, profile: Profile, secrets: Secrets, site: tuple[Service, ...]) -> Iterator[Service]:
    """The tools on the monitoring host, and the clients on every host that is watched."""
    tools: tuple[Service, ...] = ()
    if profile.monitored:
        mon = plan.host_of(MONITOR).name
        tools = (Prometheus(mon, plan, profile, secrets), LogCollector(mon, plan, profile, secrets))
        tools += (Sentinel(mon, plan),) if profile.detecting else ()
    yield from tools
    for host in plan.watched:
        client = Vmagent(host.name, plan, profile, secrets)
        beside = [service for service in (*site, *tools, client) if service.host == host.name]
        exporter = Exporter(host.name, plan, profile, secrets, beside)
        shipper = LogShipper(host.name, plan, profile, secrets, (*beside, exporter))
        exporter.beside = (*beside, shipper)
        yield from (exporter, client, shipper)
