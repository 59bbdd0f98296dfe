"""Services that serve only in a group of their kind, started again after some or all of them have failed."""

from __future__ import annotations

from contextlib import suppress

from services.service import Gathers
from services.supervisor import Supervisor
from services.unit import WAITING, Unit
from topo import wait
from topo.errors import DeadlineError, RefusedError

GATHERING_SECONDS = 3.0


def start_again(supervisor: Supervisor, unit: Unit) -> None:
    """Start a member; returns when it serves.

    When the group is gone, its last state is not known until all are back: then a member waits, and the last one that
    may start again starts them all.
    """
    if unit.runs:
        return
    group = [member for member in supervisor.units if member.service.role == unit.service.role]
    if _is_there(group):
        supervisor.launch(unit.service.id)
        return
    supervisor.hold(unit.service.id)
    if all(member.state == WAITING or (member.runs and not member.paused) for member in group):
        _start_together(supervisor, group)


def _is_there(group: list[Unit]) -> bool:
    """Members that run may be about to find each other."""
    alive = [member for member in group if member.runs and not member.paused]
    with suppress(DeadlineError):
        look = lambda: None if any(_gathered(member) for member in alive) else "no member in a group"  # noqa: E731
        wait.until(look, what="a group", seconds=GATHERING_SECONDS if alive else 0)
        return True
    return False


def _gathered(unit: Unit) -> bool:
    assert isinstance(unit.service, Gathers)
    return unit.service.gathered(unit.place)


def _start_together(supervisor: Supervisor, group: list[Unit]) -> None:
    """Restart all members, also those that run: outside of a group they serve no client."""
    for unit in group:
        with suppress(RefusedError):  # it does not run
            supervisor.kill(unit.service.id)
    for unit in group:
        assert isinstance(unit.service, Gathers)
        unit.service.gather(unit.place)
        supervisor.start(unit.service.id)
    for unit in group:
        supervisor.wait_ready(unit.service.id)
