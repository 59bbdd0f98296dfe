"""Which faults hit the web servers, whom, and under which load: pure, given the plan and a random generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from testbed.faults.injection import Fault
from topo.errors import UsageError, among
from topo.plan import APP, WEB, Plan

CRASH, GRACEFUL, SILENT, ERROR = "crash", "graceful", "silent", "error"
ALL = "all"


@dataclass(frozen=True)
class Kind:
    """A way for a server to fail. ``manner``: how it shows; ``host``: its database is gone with it."""

    what: str
    manner: str
    host: bool
    fault: Callable[[Plan, str], Fault]


def _of_service(what: str, verb: str, service: str, manner: str) -> Kind:
    return Kind(what, manner, host=False, fault=lambda _, server: Fault(verb, server, service))


def _of_host(what: str, fault: Callable[[Plan, str], Fault]) -> Kind:
    return Kind(what, SILENT, host=True, fault=fault)


def _firewall(plan: Plan, server: str) -> str:
    return next(switch.name for switch in plan.switches if switch.guards == server)


KINDS: Mapping[str, Kind] = {
    "kill-nginx": _of_service("nginx is killed", "kill", WEB, CRASH),
    "kill-app": _of_service("the application is killed; nginx answers 502", "kill", APP, CRASH),
    "stop-nginx": _of_service("nginx is stopped in order", "stop", WEB, GRACEFUL),
    "stop-app": _of_service("the application is stopped in order; then nginx answers 502", "stop", APP, GRACEFUL),
    "freeze-nginx": _of_service("nginx hangs; its connections stay open", "freeze", WEB, SILENT),
    "freeze-app": _of_service("the application hangs behind a healthy nginx", "freeze", APP, SILENT),
    "error500": Kind(
        "the application answers 500 to everything", ERROR, host=False, fault=lambda _, at: Fault("error500", at, APP)
    ),
    "cut": _of_host("its cable is cut", lambda plan, at: Fault("cut", at, _firewall(plan, at))),
    "blackhole-to": _of_host("what the balancer sends to it vanishes", lambda _, at: Fault("blackhole", "lb", at)),
    "blackhole-from": _of_host("what it sends to the balancer vanishes", lambda _, at: Fault("blackhole", at, "lb")),
    "off-host": _of_host("its power fails", lambda _, at: Fault("off", at)),
    "off-switch": _of_host("its firewall's power fails", lambda plan, at: Fault("off", _firewall(plan, at))),
}


@dataclass(frozen=True)
class Chosen:
    """A fault that will be injected, and the server that it takes from the site."""

    kind: str
    server: str
    fault: Fault

    @property
    def manner(self) -> str:
        return KINDS[self.kind].manner

    def as_dict(self) -> dict[str, str]:
        return {"fault": str(self.fault), "kind": self.kind, "manner": self.manner, "server": self.server}


def kinds(text: str) -> list[str]:
    """The kinds that a flag asks for: ``all``, or names with commas. Raises UsageError, naming the possible ones."""
    if text == ALL:
        return list(KINDS)
    wanted = text.split(",")
    for each in wanted:
        if each not in KINDS:
            raise UsageError(f"--faults {each}: no such fault; faults: {ALL}, {among(each, KINDS)}")
    return wanted


def spared(plan: Plan, primary: str) -> list[str]:
    """The servers that a fault may take whole: not the one whose database takes the writes.

    What its death costs is the question of ``db_failover``.
    """
    return [server.name for server in plan.servers if server.name != primary]


def course(
    wanted: Sequence[str], count: int, loads: Sequence[str], plan: Plan, primary: str, random: Random
) -> list[tuple[str, list[Chosen]]]:
    """``count`` faults in portions, each under one of the ``loads``, in turns; each kind equally often.

    Raises UsageError when there is no server that a kind could hit.
    """
    servers = {kind: spared(plan, primary) if KINDS[kind].host else [each.name for each in plan.servers]
               for kind in wanted}  # fmt: skip
    if nobody := [kind for kind, some in servers.items() if not some]:
        raise UsageError(f"--faults {nobody[0]}: it spares {primary}, and there is no other server")
    order = [kind for _ in range(-(-count // len(wanted))) for kind in random.sample(list(wanted), len(wanted))]
    some = [chosen(kind, random.choice(servers[kind]), plan) for kind in order[:count]]
    size = min(len(wanted), -(-count // len(loads)))
    portions = [some[first : first + size] for first in range(0, count, size)]
    return [(loads[number % len(loads)], portion) for number, portion in enumerate(portions)]


def chosen(kind: str, server: str, plan: Plan) -> Chosen:
    """That kind of fault on that server."""
    return Chosen(kind, server, KINDS[kind].fault(plan, server))
