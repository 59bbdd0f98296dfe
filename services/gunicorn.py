"""gunicorn: the application server, running the site in services/site."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from services.base import Command, File, Look, Service, listens, render
from services.secrets import Secrets
from topo.plan import Plan

PORT = 8000
CONFIG, SITE_CONFIG = "/run/app/gunicorn.conf.py", "/run/app/site.json"
ACCESS = "/var/log/app/access.log"
PROJECT = Path(__file__).parent.parent


class Gunicorn(Service):
    """One worker with threads. Reads go to the database on the same host, writes to the balancer's endpoint."""

    name = "app"

    def __init__(self, host: str, plan: Plan, secrets: Secrets, database_socket: str) -> None:
        super().__init__(host)
        self.plan = plan
        self.secrets = secrets
        self.database_socket = database_socket

    @property
    def logs(self) -> tuple[str, ...]:
        return (self.output, ACCESS)

    @property
    def environment(self) -> Mapping[str, str]:
        # one malloc arena: after log-ins a worker with threads stays at 42 MB instead of 76 MB
        return {"FOOBAR_SITE_CONFIG": SITE_CONFIG, "PYTHONPATH": str(PROJECT), "MALLOC_ARENA_MAX": "1"}

    def files(self) -> tuple[File, ...]:
        site = {
            "server": self.host,
            "secret_key": self.secrets.session_key,
            "database": "foobar",
            "read": {
                "unix_socket": self.database_socket,
                "user": "app_read",
                "password": self.secrets.read_password,
            },
            "write": {
                "host": self.plan.host("lb").ip,
                "port": 3306,
                "user": "app_write",
                "password": self.secrets.write_password,
            },
        }
        config = render("gunicorn.conf.py.j2", port=PORT, access=ACCESS)
        return (File(CONFIG, config), File(SITE_CONFIG, json.dumps(site, indent=1), 0o600))

    def configuration(self) -> tuple[File, ...]:
        """gunicorn's own; the site's differs in the server's name alone, and its check reads whichever is there."""
        return self.files()[:1]

    def directories(self) -> tuple[str, ...]:
        return ("/var/log/app",)

    def checks(self) -> tuple[Command, ...]:
        return ((*self._gunicorn(), "--check-config"),)

    def command(self) -> Command:
        return self._gunicorn()

    def ready(self, look: Look) -> str | None:
        return listens(look, PORT)

    def _gunicorn(self) -> Command:
        return (sys.executable, "-m", "gunicorn", "-c", CONFIG, "services.site.wsgi:app")
