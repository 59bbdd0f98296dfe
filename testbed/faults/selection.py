"""The hosts, switches and services that faults can hit, and selectors: ``primary``, a role, ``one of web``.

A role means every host that has it, all at once; ``one of ROLE`` is one of them by chance; ``firewall of HOST`` is the
switch in front of a host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from services.service import Fails
from testbed.faults.kind import Services, Targets
from topo.paths import BOX
from topo.plan import DATABASE, ROLES, WEB, Plan

CONTROLLER, MANAGER = "controller", "failover"
PRIMARY, ONE_OF, FIREWALL_OF = "primary", "one of ", "firewall of "
ONE_WEB = f"{ONE_OF}{WEB}"


@dataclass(frozen=True)
class Selection:
    """The present meaning of selectors. ``primary`` is asked only when a selector needs it."""

    plan: Plan
    primary: Callable[[], str]
    random: Random = field(default_factory=Random)

    def __call__(self, selector: str) -> tuple[str, ...]:
        """The names that a selector stands for; a text that is none stands for itself."""
        if selector.startswith(ONE_OF):
            return (self.random.choice(self(selector.removeprefix(ONE_OF))),)
        if selector.startswith(FIREWALL_OF):
            return tuple(firewall(self.plan, host) for host in self(selector.removeprefix(FIREWALL_OF)))
        if selector == PRIMARY:
            return (self.primary(),)
        return with_role(self.plan, selector) or (selector,)


def with_role(plan: Plan, role: str) -> tuple[str, ...]:
    """The hosts that have a role; none when there is no such role."""
    return tuple(host.name for host in plan.hosts_of(role)) if role in ROLES else ()


def firewall(plan: Plan, host: str) -> str:
    """The switch in front of a host."""
    return next((switch.name for switch in plan.switches if switch.guards == host), host)


def words(typed: Sequence[str]) -> list[str]:
    """The words typed after ``fault``, with those of a selector put together: kind, target, what."""
    parts: list[str] = []
    for word in typed:
        if parts and parts[-1].endswith((ONE_OF.strip(), FIREWALL_OF.strip())):
            parts[-1] = f"{parts[-1]} {word}"
        elif word == "of" and parts and parts[-1].split()[-1] in ("one", "firewall"):
            parts[-1] = f"{parts[-1]} of"
        else:
            parts.append(word)
    return parts


# --- what kinds of faults can hit ----------------------------------------------------------------------------------


def services(_: Plan, known: Services) -> Targets:
    """Every service of a host, and the controller; not Open vSwitch: without it there is no testbed to heal."""
    hit = [service for service in known if service.host != BOX or service.role == CONTROLLER]
    hosts = dict.fromkeys(service.host for service in hit)
    return {host: tuple(service.role for service in hit if service.host == host) for host in hosts}


def failing(_: Plan, known: Services) -> Targets:
    """The services that can be told to answer with errors."""
    return {service.host: (service.role,) for service in known if isinstance(service, Fails)}


def neighbours(plan: Plan, _: Services) -> Targets:
    """Both ends of every link."""
    return {node.name: tuple(far.node for _, far in plan.links_of(node.name)) for node in plan.nodes}


def pairs(plan: Plan, _: Services) -> Targets:
    """Each host, and every other host."""
    names = [host.name for host in plan.hosts]
    return {name: tuple(other for other in names if other != name) for name in names}


def nodes(plan: Plan, _: Services) -> Targets:
    """Hosts and switches, with nothing more to be said."""
    return {node.name: () for node in plan.nodes}


def nothing(_: Plan, __: Services) -> Targets:
    """No target: the kind says it all."""
    return {"": ()}


def managed(plan: Plan, known: Services) -> Targets:
    """The database servers, where a failover manager looks after them."""
    return dict.fromkeys(with_role(plan, DATABASE), ()) if _has_manager(known) else {}


def with_two_replicas(plan: Plan, known: Services) -> Targets:
    """The same, where there are two others of which one can fail."""
    names = managed(plan, known)
    return names if len(names) > 2 else {}


def databases(plan: Plan, _: Services) -> Targets:
    """Every host with a database."""
    return dict.fromkeys(with_role(plan, DATABASE), ())


def disks(plan: Plan, _: Services) -> Targets:
    """Every host that logs, and of a database also what it keeps."""
    data = with_role(plan, DATABASE)
    return {host.name: ("data", "log") if host.name in data else ("log",) for host in plan.hosts if host.roles}


def successors(plan: Plan, known: Services) -> Targets:
    """Each database server, and the hosts that can take over from it."""
    names = with_role(plan, DATABASE) if _has_manager(known) else ()
    return {name: tuple(other for other in names if other != name) for name in names}


def _has_manager(known: Services) -> bool:
    return any(service.role == MANAGER for service in known)
