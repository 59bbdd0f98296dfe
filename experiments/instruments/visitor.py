"""Having the client make a visit, and waiting until its writes are everywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.mariadb import mariadb
from testbed import databases
from topo import wait
from topo.errors import FoobarError
from topo.paths import PROJECT
from topo.plan import CLIENT, SITE

if TYPE_CHECKING:
    from testbed.testbed import Testbed

SECONDS = 60.0


def visits(testbed: Testbed, name: str, password: str, messages: Sequence[str], *, asks: str = "") -> dict[str, Any]:
    """The record of the visit (``visit.visit``). Raises FoobarError with its own words when it was not finished."""
    typed = (f"--asks={asks}", f"https://{SITE}/", name, password, *messages)
    command = (sys.executable, "-m", "experiments.instruments.visit", *typed)
    done = testbed.inside(testbed.plan.host_of(CLIENT).name).run(
        command, seconds=SECONDS, environment={"PYTHONPATH": str(PROJECT)}
    )
    if done.returncode:
        raise FoobarError("the client could not finish its visit", detail=done.stderr.strip())
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def wait_for_replicas(testbed: Testbed) -> dict[str, str]:
    """All that was written has reached every replica, so its packets are in the captures. Each database's position."""
    primary = databases.primary(testbed)
    goal = mariadb.position(testbed.inside(primary))
    positions = {primary: goal}
    for replica in databases.replicas(testbed):
        inside = testbed.inside(replica)

        def behind(inside: Any = inside) -> str | None:
            here = mariadb.position(inside)
            return None if here == goal else f"at {here}, primary at {goal}"

        wait.until(behind, what=f"{replica} caught up", seconds=10)
        positions[replica] = mariadb.position(inside)
    return positions
