"""NSD: the authoritative DNS server for foobar.com."""

from __future__ import annotations

from services.base import Command, File, Look, Service, listens, render
from topo.plan import DOMAIN, Plan

CONFIG, ZONE = "/run/nsd/nsd.conf", "/run/nsd/foobar.com.zone"


class Nsd(Service):
    """Answers for every host's name, and for www with the balancer's address; NXDOMAIN for the rest of the zone."""

    name = "nsd"

    def __init__(self, host: str, plan: Plan) -> None:
        super().__init__(host)
        self.plan = plan

    def files(self) -> tuple[File, ...]:
        return (
            File(CONFIG, render("nsd.conf.j2", domain=DOMAIN, zone=ZONE)),
            File(ZONE, render("zone.j2", domain=DOMAIN, plan=self.plan)),
        )

    def checks(self) -> tuple[Command, ...]:
        return (("nsd-checkconf", CONFIG), ("nsd-checkzone", DOMAIN, ZONE))

    def command(self) -> Command:
        return ("nsd", "-d", "-c", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, 53)
