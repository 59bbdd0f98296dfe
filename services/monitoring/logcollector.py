"""The log collector on the monitoring host, which writes what the shippers send, and then confirms it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from services.monitoring import logstore
from services.monitoring.logshipper import client_name
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens
from topo.folders import MIB
from topo.paths import PROJECT
from topo.plan import LOGS, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG = "/run/collector/collector.json"
CERTIFICATE, AUTHORITY = "/run/collector/monitor.pem", "/run/collector/ca.pem"


class LogCollector(Service):
    """Its process (``services.monitoring.logwriter``) writes the log store, which ``logstore`` there reads.

    Killed, frozen or cut off, it has confirmed nothing that it has not written: the shippers send it again.
    """

    role = LOGS
    aliases = ("collector",)
    watches = True
    background = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.mutual = means(profile).mutual
        self.secrets = secrets

    @property
    def output(self) -> str:
        return "/var/log/collector.log"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(PROJECT)}

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.monitor, CERTIFICATE, AUTHORITY) if self.mutual else ()
        config = {
            "port": self.plan.port(LOGS),
            "log": logstore.CURRENT,
            "bytes": logstore.PIECE_MIB * MIB,
            "pieces": logstore.PIECES,
            "tls": self._encryption() if self.mutual else None,
        }
        return (File(CONFIG, json.dumps(config, indent=1)), *proof)

    def _encryption(self) -> dict[str, object]:
        clients = [client_name(host.name) for host in self.plan.watched]
        return {"authority": AUTHORITY, "proof": CERTIFICATE, "clients": clients}

    def directories(self) -> tuple[str, ...]:
        return (logstore.FOLDER,)

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-c", f"import json; json.load(open('{CONFIG}'))"),)

    def command(self) -> Command:
        return (sys.executable, "-S", "-m", "services.monitoring.logwriter", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(LOGS))
