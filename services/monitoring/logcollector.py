"""The log collector on the monitoring host: rsyslogd, which writes what the shippers send, and then confirms it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from services.monitoring import logstore, logwriter
from services.monitoring.logshipper import LONGEST, client_name
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens, render
from topo.folders import MIB
from topo.paths import PROJECT
from topo.plan import LOGS, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, WRITER = "/run/collector/collector.conf", "/run/collector/writer"
CERTIFICATE, AUTHORITY = "/run/collector/monitor.pem", "/run/collector/ca.pem"
WORK = "/run/collector/work"


class LogCollector(Service):
    """Its writer writes the log store, which ``services.monitoring.logstore`` reads.

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
        writer = {"PYTHON": sys.executable, "PYTHONPATH": str(PROJECT), "LOG_WRITER": logwriter.__file__}
        return {"MALLOC_ARENA_MAX": "1", **writer}

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.monitor, CERTIFICATE, AUTHORITY) if self.mutual else ()
        config = render(
            "collector.conf.j2",
            host=self.host,
            work=WORK,
            longest=LONGEST,
            port=self.plan.port(LOGS),
            writer=WRITER,
            tls=self.mutual,
            authority=AUTHORITY,
            proof=CERTIFICATE,
            clients=[client_name(host.name) for host in self.plan.watched],
        )
        return (File(CONFIG, config), File(WRITER, _writer(), 0o755), *proof)

    def directories(self) -> tuple[str, ...]:
        return (WORK, logstore.FOLDER)

    def checks(self) -> tuple[Command, ...]:
        return (("rsyslogd", "-N1", "-f", CONFIG),)

    def command(self) -> Command:
        return ("rsyslogd", "-n", "-iNONE", "-f", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(LOGS))


def _writer() -> str:
    """A script, because rsyslogd takes a path with a space in it for two words."""
    bounds = f"{logstore.PIECE_MIB * MIB} {logstore.PIECES}"
    return f'#!/bin/sh\nexec "$PYTHON" -S "$LOG_WRITER" {logstore.CURRENT} {bounds}\n'
