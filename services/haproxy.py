"""HAProxy on the balancer: ends TLS for www.foobar.com, balances, checks, and is the database's write endpoint."""

from __future__ import annotations

from services.base import Command, File, Look, Service, listens, render
from services.pki import KeyPair
from topo.plan import SITE, Plan
from topo.profile import Profile

CONFIG, CERTIFICATE, SOCKET = "/run/haproxy/haproxy.cfg", "/run/haproxy/site.pem", "/run/haproxy/admin.sock"
STATISTICS_PORT = 8404


class HAProxy(Service):
    """One process in the foreground; its log goes to standard output, one JSON object a line."""

    name = "haproxy"
    last = True

    def __init__(self, host: str, plan: Plan, profile: Profile, site: KeyPair) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.site = site

    def files(self) -> tuple[File, ...]:
        text = render(
            "haproxy.cfg.j2",
            plan=self.plan,
            profile=self.profile,
            site=SITE,
            certificate=CERTIFICATE,
            socket=SOCKET,
            statistics_port=STATISTICS_PORT,
        )
        return (File(CONFIG, text), File(CERTIFICATE, self.site.bundle, 0o600))

    def checks(self) -> tuple[Command, ...]:
        return (("haproxy", "-c", "-q", "-f", CONFIG),)

    def command(self) -> Command:
        return ("haproxy", "-db", "-f", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, 443)
