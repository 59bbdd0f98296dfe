"""The planned change of the primary: nothing is lost, and nothing is changed when it cannot be done."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from services.failover.execute import FAILURES, Stopwatch, Tools, finish, repoint
from services.failover.observation import Observation, sequence
from topo.errors import RefusedError, UsageError

SWITCH_S = 1.0
MOST_BEHIND = 1000


def switch_over(tools: Tools, target: str, observation: Observation, primary: str) -> dict[str, Any]:
    """Open ``target`` in the place of ``primary``. Raises UsageError or RefusedError with nothing changed."""
    check(observation, target, primary)
    watch, note = Stopwatch(), tools.log.note
    new = tools.databases[target]
    note("switchover", primary=primary, candidate=target, positions=dict(observation.positions))
    _close(tools, target, primary, watch)
    note("drained", candidate=target, ms=watch.ms)
    tools.note_primary(target)
    new.open_writes()
    note("promoted", primary=target, ms=watch.ms)
    others = [server.name for server in observation.reachable if server.name != target]
    following = [tools.pool.submit(repoint, tools, other, target, watch) for other in others]
    tools.endpoint.route(target)
    gap = watch.ms
    note("routed", primary=target, ms=gap)
    new.stop_following()
    finish(following)
    return {"primary": target, "before": primary, "held_ms": gap}


def _close(tools: Tools, target: str, primary: str, watch: Stopwatch) -> None:
    """Close the old primary, and wait until the new one has all of it. Else open it again and raise RefusedError."""
    old = tools.databases[primary]
    try:
        old.close_writes(SWITCH_S)
        if not tools.databases[target].wait_for(old.position(), SWITCH_S):
            raise RefusedError(f"switchover {target}: it lags behind {primary}; nothing was changed")
    except FAILURES as error:
        with suppress(*FAILURES):
            old.open_writes()
        tools.log.note("switchover-refused", primary=primary, candidate=target, why=str(error), ms=watch.ms)
        raise RefusedError(str(error)) from None


def check(observation: Observation, target: str, primary: str) -> None:
    """Raise with one line when a planned switchover to ``target`` makes no sense, or is not possible now."""
    names = [server.name for server in observation.servers]
    if target not in names:
        raise UsageError(f"switchover {target}: no such server; servers: {', '.join(names)}")
    if target == primary:
        raise RefusedError(f"switchover {target}: it is the primary already")
    if not primary or not observation[primary].reachable or not observation[primary].writable:
        raise RefusedError(f"switchover {target}: there is no primary that answers; that is the failover's work")
    server = observation[target]
    if not (server.reachable and server.follows == primary and server.receiving and server.applying):
        raise RefusedError(f"switchover {target}: it is no running replica of {primary}")
    behind = sequence(observation[primary].written) - sequence(server.written)
    if behind > MOST_BEHIND:
        raise RefusedError(f"switchover {target}: it lags {behind} transactions behind {primary}")
