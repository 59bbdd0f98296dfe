"""The log shipper on a host: rsyslogd, which sends every line of the services there to the monitoring host."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from services.monitoring import logrewind
from services.secrets import Secrets
from services.service import Command, File, Look, Service, render
from topo.plan import LOGS, MONITOR, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG = "/run/rsyslog/rsyslog.conf"
AUTHORITY, PROOF = "/run/rsyslog/ca.pem", "/run/rsyslog/client.pem"
WORK = "/var/lib/rsyslog"
#: bytes of a line as it is sent, as JSON: what is longer is cut. 64 KiB of control characters take 384 KiB
LONGEST = 2**20
#: lines that may be on their way: RELP's window of 128, and some
UNCONFIRMED = 200


def client_name(host: str) -> str:
    """The name in the certificate that a host's monitoring client shows (services.secrets)."""
    return f"client.{host}"


class LogShipper(Service):
    """The log files are its queue, so what happens to the monitoring host loses no line, nor does killing it.

    When it starts, it goes back by the lines that may not have been confirmed.

    ``services``: those on its host, whose ``logs`` it reads.
    """

    role = "shipper"
    product = "rsyslog"
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
        return {"MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        proof = self.secrets.proof(self.secrets.watched[self.host], PROOF, AUTHORITY) if self.mutual else ()
        tool = self.plan.host_of(MONITOR)
        config = render(
            "shipper.conf.j2",
            host=self.host,
            work=WORK,
            longest=LONGEST,
            logs=list(self._read()),
            monitor=tool.name,
            address=tool.ip,
            port=self.plan.port(LOGS),
            tls=self.mutual,
            authority=AUTHORITY,
            proof=PROOF,
        )
        return (File(CONFIG, config), *proof)

    def _read(self) -> Iterator[tuple[str, str]]:
        """(service, log) of every log on the host."""
        for service in (*self.services, self):
            for log in service.logs:
                yield service.role, log

    def directories(self) -> tuple[str, ...]:
        return (WORK,)

    def checks(self) -> tuple[Command, ...]:
        return (("rsyslogd", "-N1", "-f", CONFIG),)

    def command(self) -> Command:
        # in the foreground, and with no pid file: one that a kill leaves behind would keep it from starting
        shipper = ("rsyslogd", "-n", "-iNONE", "-f", CONFIG)
        return (sys.executable, "-S", logrewind.__file__, WORK, str(UNCONFIRMED), *shipper)

    def ready(self, look: Look) -> str | None:  # noqa: ARG002
        """It has nothing that could be asked; what it has not sent yet stays in the logs."""
        return None
