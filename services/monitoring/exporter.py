"""The exporter on a host: what its kernel, daemons and logs say of it, as metrics for the monitoring client there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services import gunicorn, nginx
from services.failover import manager
from services.mariadb.mariadb import SOCKET as DATABASE_SOCKET
from services.monitoring import daemons, testbedstate
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens
from topo import users
from topo.paths import PRIVATE, PROJECT
from topo.plan import APP, DATABASE, MONITOR, RESOLVER, WEB, Host, Plan
from topo.profile import Profile

CONFIG = "/run/exporter/exporter.json"
PORT = 9100
#: the source that every host has: its own processes, interfaces and disks
USAGE = "host"
#: those of the monitoring host: what the controller counts, what the failover manager sees, what the testbed does
FIREWALL, FAILOVER, DETECTION, TESTBED = "firewall", "failover", "detection", "testbed"
CERTIFICATE = "BEGIN CERTIFICATE"
#: a host's folders that are file systems of its own, each once
FOLDERS = tuple(path for path in PRIVATE if path != "/var/run")


def sources(host: Host, plan: Plan) -> tuple[str, ...]:
    """The sources on a host, by the role whose part they look at; each is a path of its own, and so a job."""
    roles = tuple(role for role in (WEB, APP, DATABASE, RESOLVER) if role in host.roles)
    managed = (FAILOVER,) if plan.profile.managed else ()
    detecting = (DETECTION,) if plan.profile.detecting else ()
    return (USAGE, *roles, *((FIREWALL, *managed, *detecting, TESTBED) if MONITOR in host.roles else ()))


class Exporter(Service):
    """One process; a source that hangs or fails takes no other with it. ``beside``: the services of the same host."""

    role = "exporter"
    restarts = True
    watches = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets, beside: Sequence[Service]) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.secrets = secrets
        self.beside = beside
        # it counts the packets of DNS, and sees all that pass for that
        seeing = ("net_raw",) if RESOLVER in plan.host(host).roles else ()
        self.capabilities = ("sys_ptrace", *seeing)  # memory, disk bytes and open files of other users' processes

    @property
    def reads(self) -> tuple[str, ...]:
        """Logs of nginx and the application; sockets of the failover manager, the sentinel and the controller."""
        asked = (users.CONTROLLER,) if MONITOR in self.plan.host(self.host).roles else ()
        return (*asked, *(one.role for one in self.beside if one.role in (WEB, APP, users.FAILOVER, users.DETECTION)))

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(PROJECT), "MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        own = {name: self._settings[name]() for name in sources(self.plan.host(self.host), self.plan)}
        state = (File(testbedstate.STATE, "{}"),) if TESTBED in own else ()
        return (File(CONFIG, json.dumps({"port": PORT, "sources": own}, indent=1), 0o600), *state)

    @property
    def _settings(self) -> Mapping[str, Callable[[], dict[str, Any]]]:
        """By source, the settings that its class is made with."""
        return {
            USAGE: lambda: {
                "folders": FOLDERS,
                "certificates": self._certificates(),
                "services": {service.role: daemons.word(service) for service in self.beside},
            },
            WEB: lambda: {"log": nginx.ACCESS},
            APP: lambda: {"log": gunicorn.ACCESS, "module": gunicorn.MODULE},
            DATABASE: lambda: {"unix_socket": DATABASE_SOCKET, "password": self.secrets.monitoring_password},
            RESOLVER: lambda: {"interface": self.plan.host(self.host).interface, "port": self.plan.port(RESOLVER)},
            FIREWALL: lambda: {"hosts": [host.name for host in self.plan.hosts]},
            FAILOVER: lambda: {"ask": manager.ASK},
            DETECTION: dict,
            TESTBED: dict,
        }

    def _certificates(self) -> list[str]:
        """The files with certificates that services here show to others, or trust."""
        return [file.path for service in self.beside for file in service.files() if CERTIFICATE in file.text]

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-c", f"import json; json.load(open('{CONFIG}'))"),)

    def command(self) -> Command:
        return (sys.executable, "-m", "services.monitoring", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, PORT)
