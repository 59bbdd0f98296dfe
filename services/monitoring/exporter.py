"""The exporter on a host: what its kernel, daemons and logs say of it, as metrics for the monitoring client there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens
from topo.paths import PROJECT
from topo.plan import Host, Plan
from topo.profile import Profile

CONFIG = "/run/exporter/exporter.json"
PORT = 9100
#: the source that every host has: its own processes, interfaces and disks
USAGE = "host"


def sources(host: Host, plan: Plan) -> tuple[str, ...]:  # noqa: ARG001
    """The sources on a host, by the role whose part they look at; each is a path of its own, and so a job."""
    return (USAGE,)


class Exporter(Service):
    """One process; a source that hangs or fails takes no other with it."""

    role = "exporter"
    restarts = True
    watches = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.secrets = secrets

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(PROJECT), "MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        config = {"port": PORT, "sources": {name: {} for name in sources(self.plan.host(self.host), self.plan)}}
        return (File(CONFIG, json.dumps(config, indent=1), 0o600),)

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-c", f"import json; json.load(open('{CONFIG}'))"),)

    def command(self) -> Command:
        return (sys.executable, "-m", "services.monitoring", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, PORT)
