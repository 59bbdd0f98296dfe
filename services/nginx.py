"""nginx on a server: static files itself, everything else to the application next to it; TLS if the profile says so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.browserpolicy import POLICY
from services.pki import CIPHERS, CURVES
from services.secrets import Secrets, shown
from services.service import Command, File, Look, Service, listens, render
from services.waf import refusal
from services.waf.wafrules import rules
from topo import users
from topo.plan import APP, BALANCER, WEB, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, CERTIFICATE, AUTHORITY = "/run/nginx/nginx.conf", "/run/nginx/server.pem", "/run/nginx/ca.pem"
# where nginx writes errors before it has read its configuration, too (older ones have no flag for that)
ACCESS, ERROR = "/var/log/nginx/access.log", "/var/log/nginx/error.log"
STATIC = Path(__file__).parent / "site" / "static"
# a copy: nginx takes a dollar in the project's path for a variable, and there is no way to quote one
SERVED = "/run/nginx/static"


@dataclass(frozen=True)
class Shield:
    """The web application firewall in nginx: its module (the path is Debian's), its rules, what a refusal says."""

    module: str = "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so"
    rules: str = "/run/nginx/waf.conf"
    work: str = "/run/nginx/temp/waf"
    says: str = "The web application firewall of this site has refused the request."


class Nginx(Service):
    """Logs each request as one JSON object a line, with the request id: its own where TLS is passed on."""

    role = WEB
    product = "nginx"
    # "quit"; SIGTERM is its fast shutdown, which drops requests half-way
    stop_signal = signal.SIGQUIT

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.balancer = plan.host_of(BALANCER)
        self.profile = profile
        self.tls = means(profile)
        self.secrets = secrets

    @property
    def logs(self) -> tuple[str, ...]:
        return (self.output, ERROR, ACCESS, *((refusal.LOG,) if self.profile.shielded else ()))

    def files(self) -> tuple[File, ...]:
        text = render(
            "nginx.conf.j2",
            user=users.name(self.role),
            tls=self.tls,
            balancer=self.balancer,
            ciphers=CIPHERS,
            curves=CURVES,
            limited=self.profile.limits == "on",
            certificate=CERTIFICATE,
            authority=AUTHORITY,
            port=self.plan.port(WEB),
            applications=self._applications(),
            static=SERVED,
            access=ACCESS,
            error=ERROR,
            restrictions=POLICY,
            waf=Shield() if self.profile.shielded else None,
        )
        return (File(CONFIG, text), *self._rules(), *self._certificates())

    def _rules(self) -> Iterator[File]:
        if self.profile.shielded:
            yield File(Shield().rules, rules(refusal.LOG, Shield().work))

    def _applications(self) -> tuple[str, ...]:
        """The applications that it forwards requests to: the one on its own host, else all that there are."""
        port = self.plan.port(APP)
        if self.plan.together(WEB, APP):
            return (f"127.0.0.1:{port}",)
        return tuple(f"{host.ip}:{port}" for host in self.plan.hosts_of(APP))

    def configuration(self) -> tuple[File, ...]:
        """Without the certificate, which is this server's alone; its check reads whichever is there."""
        return self.files()[: 1 + self.profile.shielded]

    def _certificates(self) -> Iterator[File]:
        if self.tls.backend_tls:
            yield from shown(self.secrets.servers[self.host], CERTIFICATE)
        if self.tls.mutual:
            yield File(AUTHORITY, self.secrets.authority)

    def directories(self) -> tuple[str, ...]:
        return ("/var/log/nginx", "/run/nginx/temp", Shield().work, SERVED)

    def prepare(self, look: Look) -> None:
        """Copy the static files, for all users to read whatever the project's own modes are."""
        for file in STATIC.iterdir():
            copy = look.path(f"{SERVED}/{file.name}")
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o644)

    def checks(self) -> tuple[Command, ...]:
        return (("nginx", "-t", "-q", "-c", CONFIG),)

    def command(self) -> Command:
        return ("nginx", "-c", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(WEB))
