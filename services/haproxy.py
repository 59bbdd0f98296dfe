"""HAProxy on the balancer: ends TLS or passes it on, balances, checks, and is the database's write endpoint."""

from __future__ import annotations

import csv
import io
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.gunicorn import THREADS
from services.pki import CIPHERS, CURVES
from services.secrets import MANAGER, Secrets, shown
from services.service import Command, File, Look, Service, listens, render
from topo.plan import BALANCER, DATABASE, HTTP, RUNTIME, SITE, STATISTICS, WEB, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, SOCKET = "/run/haproxy/haproxy.cfg", "/run/haproxy/admin.sock"
# the site's own certificate; the authority trusted inside; the certificate shown inside
CERTIFICATE, AUTHORITY, PROOF = "/run/haproxy/site.pem", "/run/haproxy/ca.pem", "/run/haproxy/balancer.pem"
# the certificate shown to the failover manager
RUNTIME_PROOF = "/run/haproxy/runtime.pem"
RELEASE = "/run/haproxy/release.lua"
# its backends: the web servers, and the database that takes the writes
SERVERS, WRITES = "servers", "db-write"
# --health fast: how long a server may take to accept a connection; how long a dead one has been silent once it is out
CONNECT_MS, TIMERS_MS, SILENT_MS = 60, 10, 200
# at once at a server: it may be asked under two names, and one thread is left for its check
REQUESTS = (THREADS - 1) // 2


@dataclass(frozen=True)
class Limits:
    """The figures of ``--limits on``.

    Of one address: ``connections`` at once, ``new_connections`` and ``passwords`` in 10 s. Of all addresses:
    connections for ``https`` and ``http`` (of 2000; the rest is the database's and the statistics'), and log-ins
    ``waiting``. In bytes: ``headers`` and ``body`` of a request, and the ``buffer`` that both fit in.

    The load of our own experiments comes from one address: 250 requests a second, a tenth of them on new connections,
    of which up to 2 s wait in a queue before they are refused.
    """

    connections: int = 400
    new_connections: int = 2000
    passwords: int = 30
    https: int = 1200
    http: int = 600
    waiting: int = 30
    headers: int = 16 * 1024
    body: int = 16 * 1024
    buffer: int = 64 * 1024


# how the check of a Galera server logs in, without a password, and what it asks: packets of MariaDB's protocol
CHECK_USER = b"haproxy_check"
CAPABILITIES, LARGEST, UTF8 = 0x8201, 1 << 24, 33  # long password, protocol 4.1, its authentication
LOGIN = struct.pack("<IIB23x", CAPABILITIES, LARGEST, UTF8) + CHECK_USER + b"\0\0"
ASK = b"\x03SHOW STATUS LIKE 'wsrep_local_state_comment'"


def packet(number: int, body: bytes) -> bytes:
    """A packet as it is on the wire: its length, its number in the exchange, its body."""
    return len(body).to_bytes(3, "little") + bytes([number]) + body


class HAProxy(Service):
    """One process in the foreground; its log goes to standard output, one JSON object a line."""

    role = BALANCER
    product = "haproxy"
    last = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.secrets = secrets

    def files(self) -> tuple[File, ...]:
        port = self.plan.port
        text = render(
            "haproxy.cfg.j2",
            plan=self.plan,
            profile=self.profile,
            tls=means(self.profile),
            ciphers=CIPHERS,
            curves=CURVES,
            limits=Limits(),
            site=SITE,
            certificate=CERTIFICATE,
            authority=AUTHORITY,
            proof=PROOF,
            runtime_proof=RUNTIME_PROOF,
            manager=MANAGER,
            socket=SOCKET,
            web=self.plan.hosts_of(WEB),
            databases=self.plan.hosts_of(DATABASE),
            http_port=port(HTTP),
            https_port=port(BALANCER),
            web_port=port(WEB),
            database_port=port(DATABASE),
            statistics_port=port(STATISTICS),
            runtime=f"{self.plan.host(self.host).ip}:{port(RUNTIME)}",
            managed=self.profile.managed,
            release=RELEASE,
            connect_ms=CONNECT_MS,
            maxconn=REQUESTS,
            login=packet(1, LOGIN).hex(),
            ask=packet(0, ASK).hex(),
        )
        return (File(CONFIG, text), *self._release(), *self._certificates())

    def _release(self) -> Iterator[File]:
        if self.profile.health == "fast":
            # a connection that was tried for CONNECT_MS must have been given up by then, whatever the timers' order
            text = render(
                "release.lua.j2",
                backend=SERVERS,
                socket=SOCKET,
                repeats=not means(self.profile).passthrough,
                connect_ms=CONNECT_MS + TIMERS_MS,
                silent_ms=SILENT_MS,
            )
            yield File(RELEASE, text)

    def _certificates(self) -> Iterator[File]:
        tls = means(self.profile)
        if not tls.passthrough:
            yield from shown(self.secrets.site, CERTIFICATE)
        if tls.backend_tls:
            yield File(AUTHORITY, self.secrets.authority)
        if tls.mutual:
            yield from shown(self.secrets.balancer, PROOF)
        if tls.mutual and self.profile.managed:
            yield from shown(self.secrets.runtime, RUNTIME_PROOF)

    def checks(self) -> tuple[Command, ...]:
        return (("haproxy", "-c", "-q", "-f", CONFIG),)

    def command(self) -> Command:
        return ("haproxy", "-db", "-f", CONFIG)

    def ready(self, look: Look) -> str | None:
        return listens(look, self.plan.port(BALANCER))


def out(look: Look, backends: Iterable[str]) -> list[str]:
    """The servers of some backends that get nothing, each with the reason. Raises OSError."""
    rows = _servers(_asked(look, *(f"show stat {backend} 4 -1" for backend in backends)))
    return [
        f"{row['svname']} of {row['pxname']} is {row['status']} ({row['check_status'] or 'not checked'})"
        for row in rows
        if row["status"].startswith(("DOWN", "MAINT", "NOLB", "DRAIN"))
    ]


def writer(look: Look) -> str | None:
    """The server of a cluster that the next connection to the write endpoint gets; None when none can. Raises OSError.

    It is the one in the endpoint's table as long as that is up; otherwise, and before the first connection, the first
    that is up, backups last: the order of the configuration.
    """
    answer = _asked(look, f"show table {WRITES}", f"show stat {WRITES} 4 -1")
    chosen = re.search(r"server_key=(\S+)", answer)
    up = [row for row in _servers(answer) if row["status"].startswith("UP")]
    up.sort(key=lambda row: (not chosen or row["svname"] != chosen[1], row["bck"] == "1"))
    return up[0]["svname"] if up else None


def _asked(look: Look, *commands: str) -> str:
    """The answers to some commands of its administration socket, one after the other. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(str(look.path(SOCKET)))
        connection.sendall(f"{';'.join(commands)}\n".encode())
        with connection.makefile() as stream:
            return stream.read()


def _servers(answer: str) -> Iterator[dict[str, str]]:
    """The rows of every ``show stat`` in an answer."""
    for table in answer.split("# pxname,")[1:]:
        yield from csv.DictReader(io.StringIO(f"pxname,{table.partition(chr(10) * 2)[0]}"))
