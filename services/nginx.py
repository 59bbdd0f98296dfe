"""nginx on a server: static files itself, everything else to the application next to it."""

from __future__ import annotations

import signal
from pathlib import Path

from services.base import Command, File, Look, Service, listens, render
from services.gunicorn import PORT as APP_PORT

CONFIG = "/run/nginx/nginx.conf"
# where nginx writes errors before it has read its configuration, too (older ones have no flag for that)
ACCESS, ERROR = "/var/log/nginx/access.log", "/var/log/nginx/error.log"
STATIC = Path(__file__).parent / "site" / "static"


class Nginx(Service):
    """Logs each request as one JSON object a line, with the request id the balancer gave it."""

    name = "nginx"
    # "quit"; SIGTERM is its fast shutdown, which drops requests half-way
    stop_signal = signal.SIGQUIT

    @property
    def logs(self) -> tuple[str, ...]:
        return (self.output, ERROR, ACCESS)

    def files(self) -> tuple[File, ...]:
        text = render("nginx.conf.j2", app_port=APP_PORT, static=STATIC, access=ACCESS, error=ERROR)
        return (File(CONFIG, text),)

    def directories(self) -> tuple[str, ...]:
        return ("/var/log/nginx", "/run/nginx/temp")

    def checks(self) -> tuple[Command, ...]:
        return (("nginx", "-t", "-q", "-c", CONFIG),)

    def command(self) -> Command:
        return ("nginx", "-c", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, 80)
