"""The secrets of the testbed's own parts: new at every boot, never on a disk of the machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.pki import CLIENT, SERVER, Authority, KeyPair
from services.service import File
from topo.plan import APP, BALANCER, DATABASE, MONITOR, SITE, WEB, Plan
from topo.profile import Profile
from topo.tls import means

NONE = KeyPair("", "")
#: the failover manager's name in its certificate
MANAGER = "failover"


def _token() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Secrets:
    """Passwords of the database accounts, the sessions' key, and every key pair with the authority's certificate.

    ``site``: what the balancer shows to visitors; ``balancer``: what it shows to nginx; ``runtime``: to the
    failover manager. By server: what nginx shows,
    what the application shows to a database, what a database shows to both. ``failover``: what the failover
    manager shows to the databases. ``monitor``: what the monitoring tool shows to its clients; ``watched``: by host,
    what a client shows to the tool. Only those that the profile uses are there.
    """

    read_password: str = field(default_factory=_token, repr=False)
    write_password: str = field(default_factory=_token, repr=False)
    replication_password: str = field(default_factory=_token, repr=False)
    failover_password: str = field(default_factory=_token, repr=False)
    monitoring_password: str = field(default_factory=_token, repr=False)
    session_key: str = field(default_factory=_token, repr=False)
    authority: str = ""
    site: KeyPair = field(default=NONE, repr=False)
    balancer: KeyPair = field(default=NONE, repr=False)
    runtime: KeyPair = field(default=NONE, repr=False)
    servers: Mapping[str, KeyPair] = field(default_factory=dict, repr=False)
    applications: Mapping[str, KeyPair] = field(default_factory=dict, repr=False)
    databases: Mapping[str, KeyPair] = field(default_factory=dict, repr=False)
    failover: KeyPair = field(default=NONE, repr=False)
    monitor: KeyPair = field(default=NONE, repr=False)
    watched: Mapping[str, KeyPair] = field(default_factory=dict, repr=False)

    def proof(self, pair: KeyPair, path: str, authority: str) -> tuple[File, ...]:
        """The files of a daemon that shows a certificate, and knows which authority the other side's must be of."""
        return (*shown(pair, path), File(authority, self.authority))


def shown(pair: KeyPair, path: str) -> tuple[File, File]:
    """A certificate, which everybody may read, and beside it its key, where HAProxy looks for one by itself."""
    return File(path, pair.certificate), File(f"{path}.key", pair.key, 0o600)


def fresh(plan: Plan, profile: Profile) -> Secrets:
    """New secrets, with a certificate for each part that must prove something, from a new authority.

    Every database is valid at the write endpoint's address too: any of them may stand behind it one day.
    """
    authority, tls, lb = Authority(), means(profile), plan.host_of(BALANCER)
    own = (SITE,) if tls.passthrough else ()
    web = plan.hosts_of(WEB) if tls.backend_tls else ()
    apps, databases = (plan.hosts_of(APP), plan.hosts_of(DATABASE)) if tls.mutual else ((), ())
    mon, watched = plan.host_of(MONITOR), plan.watched if tls.mutual else ()
    return Secrets(
        authority=authority.certificate,
        site=NONE if tls.passthrough else authority.issue(SITE),
        balancer=authority.issue(lb.name, uses=(CLIENT,)) if tls.mutual else NONE,
        runtime=authority.issue(f"runtime.{lb.name}", lb.ip) if tls.mutual and profile.managed else NONE,
        servers={host.name: authority.issue(*own, host.name) for host in web},
        applications={host.name: authority.issue(f"app.{host.name}", uses=(CLIENT,)) for host in apps},
        databases={
            host.name: authority.issue(f"db.{host.name}", host.ip, lb.ip, uses=(SERVER, CLIENT)) for host in databases
        },
        monitor=authority.issue(mon.name, mon.ip) if watched else NONE,
        watched={host.name: authority.issue(f"client.{host.name}", uses=(CLIENT,)) for host in watched},
        failover=authority.issue(MANAGER, uses=(CLIENT,)) if tls.mutual and profile.managed else NONE,
    )
