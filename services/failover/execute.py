"""The execution of what was decided: the steps of a failover, a demotion, a rejoin. Each may be done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pymysql

from controllers import northbound
from services.failover import powerswitch
from services.failover.actions import (
    Action,
    Correct,
    Demote,
    Promote,
    Reconnect,
    Rejoin,
    Restart,
    Route,
)
from services.failover.controlconnection import ControlConnection
from services.failover.observation import Observation, ServerState, sequence
from services.failover.writeendpoint import WriteEndpoint
from topo.errors import FoobarError
from topo.eventlog import EventLog

DRAIN_S, FENCE_TRIES = 30.0, 50
FAILURES = (pymysql.Error, OSError, FoobarError)


@dataclass(frozen=True)
class Tools:
    """Everything that the steps act on. ``note_primary`` remembers the server that is about to be opened for writes."""

    databases: Mapping[str, ControlConnection]
    addresses: Mapping[str, str]
    change_master: str
    password: str
    lossless: bool
    endpoint: WriteEndpoint
    log: EventLog
    pool: ThreadPoolExecutor
    note_primary: Callable[[str], None]


class Stopwatch:
    """Milliseconds since a change began, for the event log."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def ms(self) -> float:
        return round((time.monotonic() - self._began) * 1000, 2)


def execute(tools: Tools, action: Action, observation: Observation) -> None:
    """Do it. Raises one of ``FAILURES`` when a step could not be done."""
    if isinstance(action, Promote):
        promote(tools, action, observation)
    elif isinstance(action, Route):
        route(tools, action, observation)
    elif isinstance(action, Demote):
        demote(tools, action, observation)
    elif isinstance(action, Rejoin):
        rejoin(tools, action, observation)
    elif isinstance(action, Correct):
        correct(tools, action, observation)
    elif isinstance(action, Reconnect):
        reconnect(tools, action)
    elif isinstance(action, Restart):
        restart(tools, action)


def promote(tools: Tools, action: Promote, observation: Observation) -> None:
    """Fence the old primary, drain the candidate, open it, let the others follow it, route to it."""
    watch, note = Stopwatch(), tools.log.note
    note("detect", primary=action.old, why=action.why, positions=dict(action.positions))
    ended = tools.pool.submit(_end_sessions, tools, action.old)
    replicas = [server for server in observation.reachable if server.follows]
    fenced = _isolate(tools, action.old, observation, replicas, watch)
    name, positions = _furthest(tools, action, replicas)
    note("candidate", candidate=name, primary=action.old, positions=positions, ms=watch.ms)
    if not _drain(tools, observation[name], positions[name], watch):
        return
    if fenced:
        fenced.result()  # a silent server may come back at any moment: never a second writer
    _open(tools, name, watch)
    others = [server.name for server in replicas if server.name not in (name, action.old)]
    following = [tools.pool.submit(repoint, tools, other, name, watch) for other in others]
    with suppress(OSError):
        ended.result()
        tools.endpoint.route(name)
        note("routed", primary=name, ms=watch.ms)
    if observation[name].follows:
        tools.databases[name].stop_following()
    finish(following)


def _isolate(
    tools: Tools, old: str, observation: Observation, replicas: Iterable[ServerState], watch: Stopwatch
) -> Future[None] | None:
    """Nothing comes from the old primary any more. The fence that must stand before a promotion, if one must.

    A dead primary is fenced only when the replicas have stopped: with a fence it no longer refuses, it is silent. That
    one is not waited for: a server starts read-only, so it takes no write when it comes back.
    """
    dead = bool(old) and observation[old].dead
    silent = bool(old) and not dead and not observation[old].reachable
    given_up = bool(old) and observation[old].reachable and observation[old].writable
    fenced = tools.pool.submit(_fence, tools, old, watch) if silent or given_up else None
    stopping = [tools.pool.submit(tools.databases[server.name].stop_receiving, silent=silent) for server in replicas]
    for stopped in stopping:
        stopped.result()  # a server that has just died must not be left out of the choice unnoticed
    if dead:
        tools.pool.submit(_fence, tools, old, watch).add_done_callback(lambda fence: _told(tools, old, fence))
    return fenced


def _told(tools: Tools, host: str, fence: Future[None]) -> None:
    """Nothing waits for this fence, so whatever ended it is said here; `_fence` itself says what it could not do."""
    if (problem := fence.exception()) is not None and not isinstance(problem, FoobarError):
        tools.log.note("fence-failed", primary=host, why=f"{type(problem).__name__}: {problem}")


def _end_sessions(tools: Tools, old: str) -> None:
    """Sessions to the old primary end: its clients ask again until there is another one."""
    if old:
        with suppress(OSError):
            tools.endpoint.close(old)


def _fence(tools: Tools, host: str, watch: Stopwatch) -> None:
    """A flow rule in front of the host. Tried again while the controller is away."""
    tools.log.note("fence", primary=host, ms=watch.ms)
    for _ in range(FENCE_TRIES):
        try:
            answer = northbound.ask("fence", host=host, reason="given up as the primary")
        except FoobarError as error:
            problem: FoobarError = error
            time.sleep(0.1)
        else:
            tools.log.note("fenced", primary=host, switches=answer.get("switches"), ms=watch.ms)
            return
    tools.log.note("fence-failed", primary=host, why=str(problem), ms=watch.ms)
    raise problem


def _furthest(tools: Tools, action: Promote, replicas: Iterable[ServerState]) -> tuple[str, dict[str, str]]:
    """The server that has most now that none receives any more; the one chosen before, among equals."""
    asked = {server.name: tools.pool.submit(tools.databases[server.name].furthest) for server in replicas}
    positions = dict(action.positions)
    positions.update({name: future.result() for name, future in asked.items()})
    best = max(positions, key=lambda name: (sequence(positions[name]), name == action.candidate))
    return best, positions


def _drain(tools: Tools, server: ServerState, received: str, watch: Stopwatch) -> bool:
    """True if the candidate has applied all that it has received."""
    candidate, note = tools.databases[server.name], tools.log.note
    positions = {"received": received, "applied": candidate.position()}
    note("drain", candidate=server.name, positions=positions, ms=watch.ms)
    if candidate.wait_for(received if server.follows else "", DRAIN_S):
        note("drained", candidate=server.name, ms=watch.ms)
        return True
    note("drain-slow", candidate=server.name, why=f"not applied within {DRAIN_S:g} s", ms=watch.ms)
    return False


def _open(tools: Tools, name: str, watch: Stopwatch) -> None:
    tools.note_primary(name)
    tools.log.note("promote", candidate=name, ms=watch.ms)
    tools.databases[name].open_writes()
    tools.log.note("promoted", primary=name, ms=watch.ms)


def repoint(tools: Tools, name: str, primary: str, watch: Stopwatch) -> None:
    """Have a replica follow another primary, or log that it could not."""
    try:
        tools.databases[name].follow(tools.change_master, tools.addresses[primary], tools.password)
        tools.log.note("repoint", server=name, primary=primary, ms=watch.ms)
    except FAILURES as error:
        tools.log.note("repoint-failed", server=name, primary=primary, why=str(error), ms=watch.ms)


def route(tools: Tools, action: Route, observation: Observation) -> None:
    """Tell the balancer the primary, and lift the fence in front of it."""
    if observation[action.primary].fenced:
        _unfence(tools, action.primary, Stopwatch())
    tools.endpoint.route(action.primary)
    tools.note_primary(action.primary)
    tools.log.note("routed", primary=action.primary, why=action.why)


def _unfence(tools: Tools, host: str, watch: Stopwatch) -> None:
    answer = northbound.ask("lift", name=f"fence {host}")
    tools.log.note("unfenced", server=host, switches=answer.get("switches"), ms=watch.ms)


def demote(tools: Tools, action: Demote, observation: Observation) -> None:
    """Close a server that takes writes though it is not the primary.

    With semisync what it holds back was acknowledged to no client, and ending those connections would commit it: so the
    server is switched off and on, which drops it (init_rpl_role = SLAVE).
    """
    watch, note = Stopwatch(), tools.log.note
    note("demote", server=action.server, primary=action.primary, why=action.why)
    if not observation[action.server].fenced:
        _fence(tools, action.server, watch)
    if tools.lossless:
        powerswitch.cycle(action.server)
    else:
        tools.databases[action.server].close_writes()
    note("demoted", server=action.server, ms=watch.ms)


def rejoin(tools: Tools, action: Rejoin, observation: Observation) -> None:
    """A server follows the primary by its own GTID position; it is read-only before clients can reach it again."""
    watch, note = Stopwatch(), tools.log.note
    database, server = tools.databases[action.server], observation[action.server]
    positions = {name: observation[name].position for name in (action.server, action.primary)}
    note("rejoin", server=action.server, primary=action.primary, why=action.why, positions=positions)
    database.close_writes()
    with suppress(pymysql.Error):
        database.disconnect_writers()
    if server.fenced:
        _unfence(tools, action.server, watch)
    database.follow(tools.change_master, tools.addresses[action.primary], tools.password)
    note("rejoined", server=action.server, primary=action.primary, ms=watch.ms)


def correct(tools: Tools, action: Correct, observation: Observation) -> None:
    """Put settings back, and say so. With semisync a server on which that fails is switched off and on: its
    configuration says what is right."""
    server = observation[action.server]
    try:
        tools.databases[server.name].put_back(action.violations, follows=bool(server.follows))
    except pymysql.Error as error:
        tools.log.note("correct-failed", server=server.name, why=f"{action.why}; {error}")
        if tools.lossless:
            powerswitch.cycle(server.name)
        return
    for name, seen in action.violations:
        tools.log.note("corrected", server=server.name, setting=name, why=f"it was {seen}")


def reconnect(tools: Tools, action: Reconnect) -> None:
    """A replica's receiver is started again under another number: see ``ControlConnection.receive_anew``."""
    watch = Stopwatch()
    tools.log.note("reconnect", server=action.server, primary=action.primary, why=action.why)
    tools.databases[action.server].receive_anew()
    tools.log.note("reconnected", server=action.server, primary=action.primary, ms=watch.ms)


def restart(tools: Tools, action: Restart) -> None:
    """Switch a server off and on; the next look finds it dead, or started again."""
    watch = Stopwatch()
    tools.log.note("restart", server=action.server, why=action.why)
    powerswitch.cycle(action.server)
    tools.log.note("restarted", server=action.server, ms=watch.ms)


def finish(futures: Iterable[Future[None]]) -> None:
    """Wait for all of them, whatever becomes of them."""
    for future in list(futures):
        with suppress(*FAILURES):
            future.result()
