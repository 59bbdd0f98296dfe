"""The same daemons with the same configurations on one loopback device: HTTPS without a network between the tiers.

The plan's addresses are put onto ``lo`` of one network namespace; each host keeps its own files and processes. There,
two daemons cannot both have "port 80 of every address", so each is pinned to its own host's address: the only thing in
which a configuration differs. A pin that finds nothing to change is an error, so that the reference can't quietly
become another site when a template changes.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.reference_host import reference_host, within
from services import deployment, secrets
from services.service import Command, File, Joins, Look, Prepares, Service
from services.supervisor import Supervisor
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError
from topo.plan import APP, PORTS, Host, Plan
from topo.profile import Profile

Pins = tuple[tuple[str, str], ...]

# For each program: what is changed in its files, and into what. {ip} is its host's address, {own} one of 127.0.0.0/8
# that is its host's alone. On loopback every connection comes from the address it goes to, so accounts name no address.
# A program that is not here is started as it is: where its port is taken, it says so and the reference does not start.
PINS: Mapping[str, Pins] = {
    "mariadb": ((r"^bind_address = 0\.0\.0\.0$", "bind_address = {ip}"), (r"@'10\.[\d.]+'", "@'%'")),
    "gunicorn": ((rf'^bind = "127\.0\.0\.1:{PORTS[APP]}"$', f'bind = "{{own}}:{PORTS[APP]}"'),),
    "nginx": ((r"\blisten 80;", "listen {ip}:80;"), (rf"\b127\.0\.0\.1:{PORTS[APP]};", f"{{own}}:{PORTS[APP]};")),
    "haproxy": ((r"\bbind :", "bind {ip}:"),),
}


def own(host: Host) -> str:
    """The address of a host's own inner loopback: 127.0.3.11 for 10.0.3.11."""
    return "127." + host.ip.partition(".")[2]


class Pinned(Service):
    """A service of the catalog, bound to its host's address alone."""

    def __init__(self, service: Service, host: Host) -> None:
        super().__init__(service.host)
        self.service = service
        self.role, self.product = service.role, service.product
        self.last = service.last
        self.addresses = {"ip": host.ip, "own": own(host)}

    @property
    def logs(self) -> tuple[str, ...]:
        return self.service.logs

    @property
    def environment(self) -> Mapping[str, str]:
        return self.service.environment

    def files(self) -> tuple[File, ...]:
        return pinned(self.service.files(), PINS.get(self.product, ()), self.addresses)

    def directories(self) -> tuple[str, ...]:
        return self.service.directories()

    def checks(self) -> tuple[Command, ...]:
        return self.service.checks()

    def command(self) -> Command:
        return self.service.command()

    def ready(self, look: Look) -> str | None:
        return self.service.ready(Elsewhere(look, self.addresses["own" if self.role == APP else "ip"]))

    def prepare(self, look: Look) -> None:
        if isinstance(self.service, Prepares):
            self.service.prepare(look)


class Elsewhere:
    """A look that finds at another address what a service is used to find at 127.0.0.1."""

    def __init__(self, look: Look, address: str) -> None:
        self._look = look
        self._address = address

    def path(self, path: str) -> Path:
        return self._look.path(path)

    def connect(self, port: int, address: str = "", seconds: float = 1) -> socket.socket:  # noqa: ARG002
        return self._look.connect(port, self._address, seconds)


def pinned(files: tuple[File, ...], pins: Pins, addresses: Mapping[str, str]) -> tuple[File, ...]:
    """The files with every pin applied. Raises FoobarError for a pin that fits none of them."""
    for pattern, value in pins:
        search, pin = re.compile(pattern, re.MULTILINE), value.format(**addresses)
        changed = tuple(replace(file, text=search.sub(pin, file.text)) for file in files)
        if changed == files:
            raise FoobarError(f"the loopback reference no longer fits: no {pattern} in {files[0].path}")
        files = changed
    return files


@contextmanager
def site(plan: Plan, profile: Profile, home: Path) -> Iterator[Inside]:
    """The whole site on loopback, serving; its client."""
    known = secrets.fresh(plan, profile)
    services = deployment.host_services(plan, profile, known)
    with ExitStack() as undo:
        client = undo.enter_context(reference_host(plan, "client", home / "client", authority=known.authority))
        for host in plan.hosts:
            within(client, "ip", "address", "add", f"{host.ip}/32", "dev", "lo")
        places = {
            name: undo.enter_context(reference_host(plan, name, home / name, shares=client))
            for name in dict.fromkeys(service.host for service in services)
        }
        supervisor = Supervisor()
        undo.callback(supervisor.stop_all)
        for service in services:
            supervisor.add(Pinned(service, plan.host(service.host)), places[service.host])
        _start(supervisor)
        yield client


def _start(supervisor: Supervisor) -> None:
    """As a testbed does: all at once, the balancer last, then replication, then the balancer's view of all servers."""
    supervisor.configure(unit.service for unit in supervisor.units)
    with ThreadPoolExecutor(max_workers=16) as pool:
        for last in (False, True):
            ids = [unit.service.id for unit in supervisor.units if unit.service.last == last]
            list(pool.map(supervisor.launch, ids))
    for unit in supervisor.units:
        assert isinstance(unit.service, Pinned)
        if isinstance(unit.service.service, Joins):
            unit.service.service.join(unit.place)
            _wait_joined(unit.service.service, unit.place)


def _wait_joined(service: Joins, look: Look) -> None:
    wait.until(lambda: service.joined(look), what="replication on loopback", seconds=15)
