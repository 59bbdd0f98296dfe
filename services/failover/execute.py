"""Doing what was decided: the steps of a succession, a switchover, a join. Each may be done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pymysql

from controllers import northbound
from services.failover import powerswitch
from services.failover.database import Database
from services.failover.decide import Demote, Join, Route, Succeed
from services.failover.journal import Journal
from services.failover.observation import Server, View, sequence
from services.failover.routing import Balancer
from topo.errors import FoobarError, RefusedError, UsageError

DRAIN_S, SWITCH_S, FENCE_TRIES = 30.0, 1.0, 50
FAILURES = (pymysql.Error, OSError, FoobarError)


@dataclass(frozen=True)
class Tools:
    """Everything that the steps act on. ``note_primary`` remembers whom writes were opened on."""

    databases: Mapping[str, Database]
    addresses: Mapping[str, str]
    statement: str
    password: str
    lossless: bool
    balancer: Balancer
    journal: Journal
    pool: ThreadPoolExecutor
    note_primary: Callable[[str], None]


class Clock:
    """Milliseconds since a change began, for the event log."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def ms(self) -> float:
        return round((time.monotonic() - self._began) * 1000, 2)


def succeed(tools: Tools, action: Succeed, view: View) -> None:
    """Fence the old primary, drain the successor, open it, let the others follow it, route to it."""
    clock, note = Clock(), tools.journal.note
    silent = bool(action.old) and not view[action.old].dead and not view[action.old].heard
    note("detect", primary=action.old, why=action.why, positions=dict(action.positions))
    closed = tools.pool.submit(_close, tools, action.old)
    fenced = tools.pool.submit(_fence, tools, action.old, clock) if silent else None
    heard = [each for each in view.heard if each.follows]
    _must(tools.pool.submit(tools.databases[each.name].detach, silent=silent) for each in heard)
    if action.old and view[action.old].dead:  # not before: what is fenced no longer refuses, it is silent
        tools.pool.submit(_fence, tools, action.old, clock)
    name, positions = _furthest(tools, action, heard)
    candidate = tools.databases[name]
    note("candidate", candidate=name, primary=action.old, positions=positions, ms=clock.ms)
    received = positions[name]
    note("drain", candidate=name, positions={"received": received, "applied": candidate.position()}, ms=clock.ms)
    if not candidate.wait_for(received if view[name].follows else "", DRAIN_S):
        note("drain-slow", candidate=name, why=f"not applied within {DRAIN_S:g} s", ms=clock.ms)
        return
    note("drained", candidate=name, ms=clock.ms)
    if fenced:
        fenced.result()  # a silent server may come back at any moment: never a second writer
    tools.note_primary(name)
    note("promote", candidate=name, ms=clock.ms)
    candidate.open()
    note("promoted", primary=name, ms=clock.ms)
    following = [
        tools.pool.submit(_repoint, tools, each.name, name, clock)
        for each in heard
        if each.name not in (name, action.old)
    ]
    with suppress(OSError):
        closed.result()
        tools.balancer.route(name)
        note("routed", primary=name, ms=clock.ms)
    if view[name].follows:
        candidate.lead()
    _all(following)


def _close(tools: Tools, old: str) -> None:
    """Sessions to the old primary end: whoever wrote to it asks again until there is another one."""
    if old:
        with suppress(OSError):
            tools.balancer.close(old)


def _fence(tools: Tools, host: str, clock: Clock) -> None:
    """A flow rule in front of the host. Tried again while the controller is away."""
    tools.journal.note("fence", primary=host, ms=clock.ms)
    for _ in range(FENCE_TRIES):
        try:
            told = northbound.ask("fence", host=host)
        except FoobarError as error:
            problem: FoobarError = error
            time.sleep(0.1)
        else:
            tools.journal.note("fenced", primary=host, switches=told.get("switches"), ms=clock.ms)
            return
    tools.journal.note("fence-failed", primary=host, why=str(problem), ms=clock.ms)
    raise problem


def _furthest(tools: Tools, action: Succeed, heard: Iterable[Server]) -> tuple[str, dict[str, str]]:
    """Who has most now that nobody receives any more; the one chosen before, among equals."""
    asked = {each.name: tools.pool.submit(_reach, tools.databases[each.name]) for each in heard}
    positions = dict(action.positions)
    positions.update({name: future.result() for name, future in asked.items()})
    best = max(positions, key=lambda name: (sequence(positions[name]), name == action.candidate))
    return best, positions


def _reach(database: Database) -> str:
    return max(database.received(), database.position(), key=sequence)


def _repoint(tools: Tools, name: str, primary: str, clock: Clock) -> None:
    try:
        tools.databases[name].follow(tools.statement, tools.addresses[primary], tools.password)
        tools.journal.note("repoint", server=name, primary=primary, ms=clock.ms)
    except FAILURES as error:
        tools.journal.note("repoint-failed", server=name, primary=primary, why=str(error), ms=clock.ms)


def route(tools: Tools, action: Route, view: View) -> None:
    """The balancer learns who the primary is, and no fence keeps anybody from it."""
    if view[action.primary].fenced:
        _unfence(tools, action.primary, Clock())
    tools.balancer.route(action.primary)
    tools.note_primary(action.primary)
    tools.journal.note("routed", primary=action.primary, why=action.why)


def _unfence(tools: Tools, host: str, clock: Clock) -> None:
    told = northbound.ask("unfence", host=host)
    tools.journal.note("unfenced", server=host, switches=told.get("switches"), ms=clock.ms)


def demote(tools: Tools, action: Demote, view: View) -> None:
    """Close a server that takes writes though it is not the primary.

    With semisync what it holds back was acknowledged to nobody, and ending those connections would commit it: so the
    server is switched off and on, which drops it (init_rpl_role = SLAVE).
    """
    clock, note = Clock(), tools.journal.note
    note("demote", server=action.server, primary=action.primary, why=action.why)
    if not view[action.server].fenced:
        _fence(tools, action.server, clock)
    if tools.lossless:
        powerswitch.cycle(action.server)
    else:
        tools.databases[action.server].close()
    note("demoted", server=action.server, ms=clock.ms)


def join(tools: Tools, action: Join, view: View) -> None:
    """A server follows the primary by its own GTID position; it is read-only before anybody reaches it again."""
    clock, note = Clock(), tools.journal.note
    database, server = tools.databases[action.server], view[action.server]
    note("rejoin", server=action.server, primary=action.primary, why=action.why, positions=_both(view, action))
    database.close()
    with suppress(pymysql.Error):
        database.disconnect_writers()
    if server.fenced:
        _unfence(tools, action.server, clock)
    database.follow(tools.statement, tools.addresses[action.primary], tools.password)
    note("rejoined", server=action.server, primary=action.primary, ms=clock.ms)


def _both(view: View, action: Join) -> dict[str, str]:
    return {name: view[name].position for name in (action.server, action.primary)}


def switch_over(tools: Tools, target: str, view: View, primary: str) -> dict[str, Any]:
    """The planned way: nothing is lost. Raises UsageError or RefusedError with nothing changed."""
    refuse(view, target, primary)
    clock, note = Clock(), tools.journal.note
    old, new = tools.databases[primary], tools.databases[target]
    note("switchover", primary=primary, candidate=target, positions=dict(view.positions))
    try:
        old.close(SWITCH_S)
        position = old.position()
        if not new.wait_for(position, SWITCH_S):
            raise RefusedError(f"switchover {target}: it lags behind {primary}; nothing was changed")
    except FAILURES as error:
        with suppress(*FAILURES):
            old.open()
        note("switchover-refused", primary=primary, candidate=target, why=str(error), ms=clock.ms)
        raise RefusedError(str(error)) from None
    note("drained", candidate=target, ms=clock.ms)
    tools.note_primary(target)
    new.open()
    note("promoted", primary=target, ms=clock.ms)
    others = [each.name for each in view.heard if each.name != target]
    following = [tools.pool.submit(_repoint, tools, each, target, clock) for each in others]
    tools.balancer.route(target)
    gap = clock.ms
    note("routed", primary=target, ms=gap)
    new.lead()
    _all(following)
    return {"primary": target, "before": primary, "held_ms": gap}


def refuse(view: View, target: str, primary: str) -> None:
    """Raise with one line when a planned switchover to ``target`` cannot be meant, or not now."""
    names = [each.name for each in view.servers]
    if target not in names:
        raise UsageError(f"switchover {target}: no such server; servers: {', '.join(names)}")
    if target == primary:
        raise RefusedError(f"switchover {target}: it is the primary already")
    if not primary or not view[primary].heard or not view[primary].writable:
        raise RefusedError(f"switchover {target}: there is no primary that answers; that is the failover's work")
    server = view[target]
    if not (server.heard and server.follows == primary and server.receiving and server.applying):
        raise RefusedError(f"switchover {target}: it is no running replica of {primary}")
    behind = sequence(view[primary].written) - sequence(server.written)
    if behind > 1000:
        raise RefusedError(f"switchover {target}: it lags {behind} transactions behind {primary}")


def _must(futures: Iterable[Future[Any]]) -> None:
    """All of them, or the first one's error: who has just died must not be left out of a choice unnoticed."""
    for each in list(futures):
        each.result()


def _all(futures: Iterable[Future[Any]]) -> None:
    for each in list(futures):
        with suppress(*FAILURES):
            each.result()
