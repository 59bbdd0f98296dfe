"""NSD: the authoritative DNS server for foobar.com."""

from __future__ import annotations

from services.service import Command, File, Look, Service, listens, render
from topo.plan import BALANCER, DOMAIN, RESOLVER, REVERSE_DOMAIN, Plan

CONFIG = "/run/nsd/nsd.conf"
ZONES = {
    DOMAIN: ("/run/nsd/foobar.com.zone", "zone.j2"),
    REVERSE_DOMAIN: ("/run/nsd/reverse.zone", "reverse.zone.j2"),
}


class Nsd(Service):
    """Answers for every host's name and address, and for www with the balancer's; NXDOMAIN for the rest of the zones.

    Without the reverse zone, tools that ask for an address's name (nmap does, unasked) wait 13 s for nothing.
    """

    role = RESOLVER
    product = "nsd"

    def __init__(self, host: str, plan: Plan) -> None:
        super().__init__(host)
        self.plan = plan

    def files(self) -> tuple[File, ...]:
        return (
            File(CONFIG, render("nsd.conf.j2", zones={zone: file for zone, (file, _) in ZONES.items()})),
            *(File(file, self._zone(template)) for file, template in ZONES.values()),
        )

    def _zone(self, template: str) -> str:
        balancer = self.plan.host_of(BALANCER)
        return render(template, domain=DOMAIN, plan=self.plan, resolver=self.host, balancer=balancer)

    def checks(self) -> tuple[Command, ...]:
        return (
            ("nsd-checkconf", CONFIG),
            *(("nsd-checkzone", zone, file) for zone, (file, _) in ZONES.items()),
        )

    def command(self) -> Command:
        return ("nsd", "-d", "-c", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(RESOLVER))
