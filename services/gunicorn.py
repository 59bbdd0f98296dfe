"""gunicorn: the application server, running the site in services/site."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from services.secrets import Secrets
from services.service import Command, File, Look, Service, below, listens, render
from topo.paths import PROJECT
from topo.plan import APP, DATABASE, WEB, Endpoint, Plan
from topo.profile import Profile
from topo.tls import means

THREADS = 8
CONFIG, SITE_CONFIG = "/run/app/gunicorn.conf.py", "/run/app/site.json"
# the certificate authority that the application trusts, and its own certificate
AUTHORITY, PROOF = "/run/app/ca.pem", "/run/app/application.pem"
ACCESS = "/var/log/app/access.log"
MODULE = "services.site.wsgi:app"
# while this file is there, the site answers 500 to everything
BROKEN = "/run/app/broken"


class Gunicorn(Service):
    """One worker with threads. Reads go to the nearest database, writes to the balancer's endpoint."""

    role = APP
    product = "gunicorn"

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets, database_socket: str) -> None:
        super().__init__(host)
        self.plan = plan
        self.port = plan.port(APP)
        self.profile = profile
        self.tls = means(profile)
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
        bind = "127.0.0.1" if self.plan.together(WEB, APP) else "0.0.0.0"
        config = render("gunicorn.conf.py.j2", bind=bind, port=self.port, threads=THREADS, access=ACCESS)
        site = File(SITE_CONFIG, json.dumps(self._site(), indent=1), 0o600)
        if not self.tls.mutual:
            return (File(CONFIG, config), site)
        return (File(CONFIG, config), site, *self.secrets.proof(self.secrets.applications[self.host], PROOF, AUTHORITY))

    def _site(self) -> dict[str, Any]:
        """The site's settings. No proxy between nginx and the visitor adds a header where TLS is passed on."""
        return {
            "server": self.host,
            "secret_key": self.secrets.session_key,
            "database": "foobar",
            "broken": BROKEN,
            **({"hops": {"for": 1}} if self.tls.passthrough else {}),
            **({"gtid_wait_s": 0} if self.profile.cluster else {}),
            **({"limits": True} if self.profile.limits == "on" else {}),
            **({"statements_logged": True} if self.profile.monitored else {}),
            "read": self._account("app_read", self.secrets.read_password, self._nearest()),
            "write": self._account("app_write", self.secrets.write_password, self.plan.endpoint(DATABASE)),
        }

    def _account(self, user: str, password: str, endpoint: Endpoint | None) -> dict[str, Any]:
        """Its account at the database: the one on its own host if no endpoint is given."""
        login = {"user": user, "password": password}
        if endpoint is None:
            return {"unix_socket": self.database_socket, **login}
        proof = {"ca": AUTHORITY, "proof": PROOF} if self.tls.mutual else {}
        return {"host": endpoint.ip, "port": endpoint.port, **login, **proof}

    def _nearest(self) -> Endpoint | None:
        """The database to read from: its own host's; where not all have one, each application has one in turn."""
        if self.plan.together(APP, DATABASE):
            return None
        databases = self.plan.hosts_of(DATABASE)
        number = self.plan.hosts_of(APP).index(self.plan.host(self.host))
        return Endpoint(databases[number % len(databases)], self.plan.port(DATABASE))

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
        return listens(look, self.port)

    def fail(self, look: Look) -> None:
        folder, name = below(look, BROKEN, make=True)
        os.close(folder.open(name, os.O_WRONLY | os.O_CREAT))

    def recover(self, look: Look) -> None:
        folder, name = below(look, BROKEN, make=True)
        folder.remove(name)

    def _gunicorn(self) -> Command:
        return (sys.executable, "-m", "gunicorn", "-c", CONFIG, MODULE)
