"""The log shipper on a host, which sends every line of the services there to the monitoring host."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from services.monitoring.logsender import CONFIRMED
from services.secrets import Secrets
from services.service import Command, File, Look, Service
from topo.paths import PROJECT
from topo.plan import LOGS, MONITOR, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG = "/run/shipper/shipper.json"
AUTHORITY, PROOF = "/run/shipper/ca.pem", "/run/shipper/client.pem"
WORK = "/var/lib/shipper"
NOTES = f"{WORK}/places.json"


def client_name(host: str) -> str:
    """The name in the certificate that a host's monitoring client shows (services.secrets)."""
    return f"client.{host}"


class LogShipper(Service):
    """The log files are its queue, so what happens to the monitoring host loses no line, nor does killing it.

    Its process (``services.monitoring.logsender``) notes its places when they are confirmed.

    ``services``: those on its host, whose ``logs`` it reads.
    """

    role = "shipper"
    watches = True
    background = True

    def __init__(
        self, host: str, plan: Plan, profile: Profile, secrets: Secrets, services: Sequence[Service] = ()
    ) -> None:
        super().__init__(host)
        self.plan = plan
        self.mutual = means(profile).mutual
        self.secrets = secrets
        self.services = services

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(service.role for service in self.services)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(PROJECT)}

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.watched[self.host], PROOF, AUTHORITY) if self.mutual else ()
        tool = self.plan.host_of(MONITOR)
        config = {
            "host": self.host,
            "address": tool.ip,
            "port": self.plan.port(LOGS),
            "tls": {"authority": AUTHORITY, "proof": PROOF, "name": tool.name} if self.mutual else None,
            "notes": NOTES,
            "noted": CONFIRMED,
            "logs": list(self._read()),
        }
        return (File(CONFIG, json.dumps(config, indent=1)), *proof)

    def _read(self) -> Iterator[tuple[str, str]]:
        """(service, log) of every log on the host."""
        for service in (*self.services, self):
            for log in service.logs:
                yield service.role, log

    def directories(self) -> tuple[str, ...]:
        return (WORK,)

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-S", "-c", f"import json; json.load(open('{CONFIG}'))"),)

    def command(self) -> Command:
        return (sys.executable, "-S", "-m", "services.monitoring.logsender", CONFIG)

    def ready(self, look: Look) -> str | None:  # noqa: ARG002
        """It has nothing that could be asked; what it has not sent yet stays in the logs."""
        return None
