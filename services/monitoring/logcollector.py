"""The log collector on the monitoring host: rsyslogd, which writes what the shippers send, and then confirms it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.monitoring import logstore
from services.monitoring.logshipper import LONGEST, client_name
from services.secrets import Secrets
from services.service import Command, File, Look, Service, listens, render
from topo.folders import MIB
from topo.plan import LOGS, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, ROTATE = "/run/collector/collector.conf", "/run/collector/rotate"
CERTIFICATE, AUTHORITY = "/run/collector/monitor.pem", "/run/collector/ca.pem"
WORK = "/run/collector/work"


class LogCollector(Service):
    """It writes the log store, which ``services.monitoring.logstore`` reads, and begins a new piece when one is full.

    Killed, frozen or cut off, it has confirmed nothing that it has not written: the shippers send it again.
    """

    role = LOGS
    aliases = ("collector",)

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
        return {"MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        config = render(
            "collector.conf.j2",
            host=self.host,
            work=WORK,
            longest=LONGEST,
            port=self.plan.port(LOGS),
            store=logstore.CURRENT,
            piece=logstore.PIECE_MIB * MIB,
            rotate=ROTATE,
            tls=self.mutual,
            authority=AUTHORITY,
            proof=CERTIFICATE,
            clients=[client_name(host.name) for host in self.plan.watched],
        )
        return (File(CONFIG, config), File(ROTATE, logstore.rotation(), 0o755), *self._certificates())

    def _certificates(self) -> Iterator[File]:
        if self.mutual:
            yield File(CERTIFICATE, self.secrets.monitor.bundle, 0o600)
            yield File(AUTHORITY, self.secrets.authority)

    def directories(self) -> tuple[str, ...]:
        return (WORK, logstore.FOLDER)

    def checks(self) -> tuple[Command, ...]:
        return (("rsyslogd", "-N1", "-f", CONFIG),)

    def command(self) -> Command:
        # in the foreground, and with no pid file: one that a kill leaves behind would keep it from starting
        return ("rsyslogd", "-n", "-iNONE", "-f", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(LOGS))
