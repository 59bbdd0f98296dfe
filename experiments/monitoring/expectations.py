"""The faults that ``monitoring`` injects, and the alert that must tell of each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.faults.kind import Fault
from testbed.faults.selection import PRIMARY
from topo import plan as roles
from topo.plan import Plan

LATE_S = 2.0
#: a link that flaps is away for a second first, then for less: the first while that is a silence begins after 3.3 s
FLAPPING_LATE_S = 6.0
#: faults that are made of several say when the first of them began, and take so long until the first that shows
COMPOUND_LATE_S = 3.0


@dataclass(frozen=True)
class Expectation:
    """``alerts``: any of them must fire, at a host of the fault; none: the fault is a change that nobody need look at.

    ``designs``: the values of ``--db`` in which the fault is possible. ``hosts``: where the alert must be, when that is
    not the fault's target. ``late_s``: an alert that comes later than so many seconds is late.
    """

    fault: Fault
    alerts: tuple[str, ...]
    designs: tuple[str, ...] = ("single", "async", "semisync", "galera")
    hosts: tuple[str, ...] = ()
    late_s: float = LATE_S

    @property
    def name(self) -> str:
        return str(self.fault)


MANAGED = ("async", "semisync")


def expectations(plan: Plan) -> Sequence[Expectation]:
    """One or more for every kind of fault that a plan's design has, at hosts of the plan."""
    return [each for each in _every(plan) if plan.profile.db in each.designs]


def _every(plan: Plan) -> Iterator[Expectation]:
    """Servers other than the first primary are hit where it is not asked for: they are alike."""
    databases = [host.name for host in plan.hosts_of(roles.DATABASE)]
    servers = [host.name for host in plan.hosts_of(roles.WEB)]
    server, database = servers[-1], databases[-1]
    balancer, resolver = plan.host_of(roles.BALANCER).name, plan.host_of(roles.RESOLVER).name
    monitor = plan.host_of(roles.MONITOR).name
    yield Expectation(Fault("kill", server, roles.WEB), ("ServerDown",))
    yield Expectation(Fault("kill", server, roles.APP), ("ServerDown",))
    yield Expectation(Fault("kill", database, roles.DATABASE), ("ServerDown",))
    yield Expectation(Fault("kill", resolver, roles.RESOLVER), ("ServerDown",))
    yield Expectation(Fault("stop", server, roles.WEB), ("ServerDown",))
    yield Expectation(Fault("freeze", server, roles.WEB), ("ServerDown",))
    yield Expectation(Fault("freeze", server, roles.APP), ("ServerDown",))
    yield Expectation(Fault("freeze", database, roles.DATABASE), ("ServerDown",))
    yield Expectation(Fault("freeze", server, "agent"), ("HostSilent", "MonitoringClientSilent"))
    yield Expectation(Fault("kill", balancer, roles.BALANCER), ("ServerDown",))
    yield Expectation(Fault("cut", server), ("HostSilent",))
    yield Expectation(Fault("off", server), ("HostSilent",))
    yield Expectation(Fault("flap", server), ("HostSilent",), late_s=FLAPPING_LATE_S)
    yield Expectation(Fault("error500", server), ("ErrorRate",))
    yield Expectation(Fault("full", server, "log"), ("DiskFull",))
    yield Expectation(Fault("stop-controller"), ("ControllerDown",), hosts=(monitor,))
    yield Expectation(Fault("blackhole", server, monitor), ("HostSilent",))
    yield Expectation(Fault("stuck", PRIMARY), ("WritesWait",), designs=("single",))
    yield Expectation(Fault("kill", PRIMARY, roles.DATABASE), ("ServerDown", "NoPrimary"), designs=MANAGED)
    yield from _compound([host.name for host in plan.hosts_of(roles.DATABASE)])


def _compound(databases: Sequence[str]) -> Iterator[Expectation]:
    """Those of which the failover manager, the replicas or their links are a part; the primary is not always the same.

    Not ``planned``: a hand-over that goes well is no trouble, and no alert is right for it.
    """
    for kind in ("manager", "unwatched", "candidate", "lag", "severed"):
        yield Expectation(Fault(kind, PRIMARY), ("ServerDown",), designs=MANAGED, late_s=COMPOUND_LATE_S)
    # one database is dead, and the other one's host comes and goes: which of them, chance says
    hosts = tuple(databases)
    yield Expectation(Fault("lone", PRIMARY), ("ServerDown",), designs=MANAGED, hosts=hosts, late_s=COMPOUND_LATE_S)
