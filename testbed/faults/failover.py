"""The steps that compound faults of the database share: killing a part of it, and reading its reaction."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from services.failover.events import LOG, Events
from testbed.faults.kind import Fault, Injection
from testbed.faults.selection import MANAGER
from topo.errors import DeadlineError
from topo.eventlog import Event
from topo.plan import BALANCER, DATABASE, MONITOR

if TYPE_CHECKING:
    from testbed.testbed import Testbed

REACTION_SECONDS = 3.0
PROBE_SECONDS = 0.1


def kill_database(injection: Injection, host: str) -> AbstractContextManager[Injection]:
    """Its database is dead while the block runs."""
    return injection.also(Fault("kill", host, DATABASE))


def kill_manager(injection: Injection) -> AbstractContextManager[Injection]:
    """The failover manager is dead while the block runs."""
    return injection.also(Fault("kill", injection.testbed.plan.host_of(MONITOR).name, MANAGER))


def others(testbed: Testbed, primary: str) -> tuple[str, ...]:
    """The database servers beside the primary."""
    return tuple(host.name for host in testbed.plan.hosts_of(DATABASE) if host.name != primary)


def manager_events(testbed: Testbed) -> Events:
    """The manager's events from now on, out of its log."""
    return Events(testbed.inside(testbed.plan.host_of(MONITOR).name).path(LOG))


def reaction(events: Events, name: str, since: float) -> Event | None:
    """The manager's first event of that name, as soon as it is in its log; None when it does not come."""
    with suppress(DeadlineError):
        return events.wait_for(name, REACTION_SECONDS, since)
    return None


def database_greets(testbed: Testbed, host: str) -> bool:
    """Does a host's database greet a connection from the balancer?"""
    plan = testbed.plan
    place = (plan.port(DATABASE), plan.host(host).ip, PROBE_SECONDS)
    with suppress(OSError), testbed.inside(plan.host_of(BALANCER).name).connect(*place) as connection:
        return bool(connection.recv(1))
    return False


def sequence(position: str) -> int:
    """The sequence number of a GTID position with one domain."""
    return max((int(gtid.rsplit("-", 1)[1]) for gtid in position.split(",") if gtid), default=0)
