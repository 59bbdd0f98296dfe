"""The steady state: what must hold before anything is measured, hold again afterwards, and is shown by ``status``.

No fault in force; every service serving; every link up; the switches' flows as desired, with no overlay above the
policy; every allow-rule passing; room on every host's disks; replication caught up, only the primary taking writes, and
the settings that this rests on as promised; the balancer sending to every server; the site answered by name, over
HTTPS, from each of them; news of every source that is monitored.

Every look is a new one, with an end: what has given no answer by then is a problem like any other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

from services import haproxy
from services.failover import manager
from services.mariadb import mariadb
from services.unit import Unit
from testbed import attempts, databases, monitored
from testbed.core import TestbedCore
from topo import wait
from topo.errors import FoobarError
from topo.paths import PRIVATE
from topo.plan import BALANCER, DATABASE, MONITOR, SITE

#: for ``status``, which a person waits for; and where what follows rests on it
SECONDS, THOROUGH_SECONDS = 2.0, 8.0
#: a disk is full when less than this share of it, or less than this many bytes are left
FULL_SHARE, FULL_BYTES = 0.01, 2**20
MOST_AT_ONCE = 128

#: None when all is as it must be, else what was seen
Look = Callable[[], "str | None"]


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``seen`` is None when it is as it must be, else what was seen."""

    name: str
    seen: str | None


@dataclass(frozen=True)
class Steady:
    """One look at everything; ``looked``: when it began, in seconds since 1970."""

    checks: tuple[Check, ...]
    looked: float = field(default_factory=time.time)

    @property
    def holds(self) -> bool:
        """False too when nothing was looked at."""
        return bool(self.checks) and self.problems is None

    @property
    def reasons(self) -> list[str]:
        """Each problem, with the name of what has it."""
        return [f"{check.name}: {check.seen}" for check in self.checks if check.seen]

    @property
    def problems(self) -> str | None:
        return "; ".join(self.reasons) or None

    def as_dict(self) -> dict[str, Any]:
        """Its part of ``status --json``."""
        moment = datetime.fromtimestamp(self.looked, timezone.utc).isoformat(timespec="milliseconds")
        return {"steady": self.holds, "problems": self.reasons, "looked": moment}


def look(testbed: TestbedCore, seconds: float = THOROUGH_SECONDS, *, own: bool = False) -> Steady:
    """Look at everything once, side by side, for at most some seconds.

    While an experiment measures nothing is sent that it could see, so that it is not known whether all is well; but for
    the experiment's own look.
    """
    began, seconds = time.time(), seconds * wait.patience()
    if testbed.measured and not own:
        reason = f"{testbed.measured} is measured: nothing was tried that it could see"
        return Steady((Check("experiment", reason), *_asked(_silent(testbed), seconds)), began)
    testbed.looks.append(began)
    try:
        # a little less each, so that the rule says what it saw and not only that it is late
        looks = [*_silent(testbed), *_talking(testbed, 0.9 * seconds)]
        return Steady(_asked(looks, seconds), began)
    finally:
        testbed.looks.remove(began)


def _asked(looks: list[tuple[str, Look]], seconds: float) -> tuple[Check, ...]:
    """All at once. One that is late goes on by itself, until its own end."""
    pool = ThreadPoolExecutor(max_workers=MOST_AT_ONCE, thread_name_prefix="look")
    asked = [(name, pool.submit(one)) for name, one in looks]
    wait_for_all([future for _, future in asked], seconds)
    pool.shutdown(wait=False, cancel_futures=True)
    return tuple(Check(name, _answer(future, seconds)) for name, future in asked)


def _answer(future: Future[str | None], seconds: float) -> str | None:
    if not future.done() or future.cancelled():
        return f"no answer within {seconds:g} s"
    try:
        return future.result()
    except Exception as error:  # what cannot be looked at is not as it must be, whatever the reason
        return str(error) or type(error).__name__


def _silent(testbed: TestbedCore) -> list[tuple[str, Look]]:
    """The looks that send nothing and ask no daemon."""
    return [
        *((unit.service.id, partial(_process, testbed, unit)) for unit in testbed.supervisor.units),
        ("faults in force", lambda: ", ".join(str(row["fault"]) for row in testbed.active_faults.status()) or None),
        ("overlays in force", lambda: ", ".join(overlay.name for overlay in testbed.overlays.standing) or None),
        ("links", lambda: ", ".join(f"{link.a.node} - {link.b.node} is down" for link in testbed.links.down()) or None),
        ("disks", lambda: _full_disks(testbed)),
    ]


def _talking(testbed: TestbedCore, seconds: float) -> Iterator[tuple[str, Look]]:
    """The looks that ask daemons, or send packets over the links."""
    for unit in testbed.supervisor.units:
        yield unit.service.id, partial(_serves, unit)
    for switch in testbed.plan.switches:
        if switch.name not in testbed.powerless:
            yield f"flows of {switch.name}", partial(testbed.flow_differences, switch.name)
    for rule in testbed.rules:
        for src, dst in attempts.tried(rule, testbed.rules, testbed.plan):
            passes = partial(attempts.passes, rule, testbed.inside(src.name), dst, seconds)
            yield f"rule {rule.name}: {src.name} -> {dst.name}", passes
    yield "balancer", partial(_balancer, testbed)
    yield f"https://{SITE}/", partial(attempts.site, testbed, seconds)
    yield "primary", partial(_primary, testbed)
    for host in testbed.plan.hosts_of(DATABASE):
        yield f"replication: {host.name}", partial(_replica, testbed, host.name)
        yield f"settings: {host.name}", partial(_settings, testbed, host.name)
    if testbed.profile.managed:
        yield "failover", partial(_failover, testbed)
    if testbed.profile.monitored:
        yield "monitoring", partial(monitored.missing, testbed)


def _process(testbed: TestbedCore, unit: Unit) -> str | None:
    if unit.state != "ready" and not unit.restarted_by_hand:
        return ": ".join(filter(None, [unit.state, testbed.failures.get(unit.service.id)]))
    return unit.halted


def _serves(unit: Unit) -> str | None:
    """None of a service that has ended: ``_process`` tells of that."""
    return unit.service.ready(unit.place) if unit.runs else None


def _full_disks(testbed: TestbedCore) -> str | None:
    """The hosts' own folders; those that share a file system are one."""
    full: dict[int, str] = {}
    for host in testbed.plan.hosts:
        for folder in (*PRIVATE, *([mariadb.DATA] if DATABASE in host.roles else [])):
            path = testbed.inside(host.name).path(folder)
            if _is_full(os.statvfs(path)):
                full.setdefault(path.stat().st_dev, f"{host.name}:{folder} is full")
    return ", ".join(full.values()) or None


def _is_full(room: os.statvfs_result) -> bool:
    least = max(FULL_BYTES, FULL_SHARE * room.f_blocks * room.f_frsize)
    return room.f_bavail * room.f_frsize < least or (room.f_files > 0 and room.f_favail == 0)


def _balancer(testbed: TestbedCore) -> str | None:
    """It sends to every server. Where a failover manager says which database takes the writes, the others are off."""
    backends = [haproxy.SERVERS] if testbed.profile.managed else [haproxy.SERVERS, haproxy.WRITES]
    return ", ".join(haproxy.out(testbed.inside(testbed.plan.host_of(BALANCER).name), backends)) or None


def _primary(testbed: TestbedCore) -> str | None:
    try:
        name = databases.primary(testbed)
    except FoobarError as error:
        return str(error)
    writable = testbed.profile.cluster or mariadb.is_writable(testbed.inside(name))
    return None if writable else f"{name} takes no writes"


def _settings(testbed: TestbedCore, name: str) -> str | None:
    """One SET GLOBAL by hand takes the promise away that no write is lost, and nothing else shows it."""
    service = testbed.supervisor.unit(f"{name}/{DATABASE}").service
    assert isinstance(service, mariadb.MariaDB)
    return service.broken_promises(testbed.inside(name))


def _replica(testbed: TestbedCore, name: str) -> str | None:
    """A server follows the primary, and has what that has; in a cluster it is in its place."""
    primary = databases.primary(testbed)
    if name == primary and not testbed.profile.cluster:
        return None
    service, inside = testbed.supervisor.unit(f"{name}/{DATABASE}").service, testbed.inside(name)
    assert isinstance(service, mariadb.MariaDB)
    if problem := service.joined(inside):
        return problem
    if not testbed.profile.cluster and mariadb.is_writable(inside):
        return f"takes writes, though {primary} is the primary"
    ahead, behind = mariadb.position(testbed.inside(primary)), mariadb.position(inside)
    return None if ahead == behind else f"at {behind or 'nothing'}, primary {primary} at {ahead}"


def _failover(testbed: TestbedCore) -> str | None:
    """The manager has nothing left to do - all others follow one primary, which the balancer knows - or to refuse."""
    noted = manager.noted(testbed.inside(testbed.plan.host_of(MONITOR).name))
    settled = [] if noted.get("settled") else [f"not settled: the primary is {noted.get('primary') or 'not known'}"]
    return "; ".join([*settled, *noted.get("problems", [])]) or None
