"""The next action, as a pure function of an observation. No clock, no socket, no memory.

    the primary answers and takes writes  -> keep it: close other writers, route to it, let the others follow it
    its port refuses connections          -> it is dead: promote another server at once
    it is silent                          -> it is dead only if its replicas miss its heartbeats too: a manager that is
                                             cut off from a living primary changes nothing
    it answers, but is read-only          -> it was restarted: promote the server that has most, which may be itself
    its writes wait and none ends         -> see stall.py
    a setting is not as promised          -> put it back, on any server

As long as the testbed boots, a primary that does not answer stays the primary: on a busy machine any server is silent
for a while, and one that dies ends the boot.

With semisync an acknowledged write is on the primary's disk and in the relay log of *one* replica, and it is unknown
which. So a server is promoted only when all servers but one answer, and either the last writer is among them or none of
the others has been restarted since (a restart drops what was received and not applied). Otherwise it waits: no write
rather than a lost one.
"""

from __future__ import annotations

from services.failover.actions import STALE, Action, Correct, Demote, NoAction, Promote, Rejoin, Route
from services.failover.observation import SILENT_S, Observation, ServerState, last_writer, sequence
from services.failover.stall import STALL_S, unblock


def decide(observation: Observation) -> Action:
    """The next step."""
    if not observation.reachable:
        return NoAction("no server answers: this host itself is cut off", blocked=True)
    name = current_primary(observation)
    if not name:
        if observation.absent:
            absent = ", ".join(observation.absent)
            return NoAction(f"no primary is known, and no answer from {absent}", blocked=True)
        return _elect(observation, "", "no server takes writes yet")
    primary = observation[name]
    if observation.booting and not primary.reachable:
        return NoAction(f"no answer from {name}, and the boot has not ended", blocked=True)
    if primary.dead:
        return _elect(observation, name, f"{name} refuses connections")
    if not primary.reachable:
        return _silent(observation, primary)
    if primary.writable:
        return _keep(observation, primary)
    return _elect(observation, name, f"{name} is read-only")


def current_primary(observation: Observation) -> str:
    """The primary, dead or alive: by the manager's note, by the balancer, or the one server that takes writes."""
    known = {server.name for server in observation.servers}
    for name in (observation.noted, observation.routed):
        if name in known:
            return str(name)
    writers = [server.name for server in observation.reachable if server.writable]
    return writers[0] if len(writers) == 1 else ""


def _silent(observation: Observation, primary: ServerState) -> Action:
    followers = [
        server
        for server in observation.reachable
        if server.follows == primary.name and server.heartbeat_age is not None
    ]
    alive = [server.name for server in followers if server.receiving and (server.heartbeat_age or 0.0) < SILENT_S]
    if alive:
        return NoAction(f"{primary.name} is silent here, but sends heartbeats to {', '.join(alive)}", blocked=True)
    if not followers:
        return NoAction(f"{primary.name} is silent, and no replica confirms it", blocked=True)
    names = ", ".join(server.name for server in followers)
    return _elect(observation, primary.name, f"{primary.name} is silent here and to {names}")


def _elect(observation: Observation, old: str, why: str) -> Action:
    """Promote the server with most transactions; a second one that takes writes is closed before."""
    if observation.stale:
        return STALE
    if observation.lossless and (problem := unsafe(observation)):
        return NoAction(f"{why}; {problem}", blocked=True)
    best = _furthest(observation, old)
    behind = [server.name for server in observation.reachable if server.writable and server is not best]
    if behind and not observation.lossless:
        return Demote(behind[0], best.name, f"{best.name} has more")
    return Promote(best.name, old, why, tuple((server.name, server.position) for server in observation.reachable))


def _furthest(observation: Observation, old: str) -> ServerState:
    """The server with most transactions; of equals one that is open already, the old one, then the first listed."""
    return max(
        observation.reachable,
        key=lambda server: (
            sequence(server.position),
            server.writable,
            sequence(server.written),
            server.name == old,
        ),
    )


def unsafe(observation: Observation) -> str | None:
    """The way a promotion now could lose an acknowledged write; None when it cannot. See the module's docstring."""
    absent = observation.absent
    if len(absent) > 1:
        return f"no answer from {' and '.join(absent)}: either may hold the only copy of an acknowledged write"
    furthest = max((server.position for server in observation.reachable), key=sequence)
    if not furthest or last_writer(furthest) in {server.number for server in observation.reachable}:
        return None
    restarted = [server.name for server in observation.reachable if not server.keeps_relay_log]
    if restarted:
        return f"{', '.join(restarted)} has been restarted, and no answer from {', '.join(absent)}"
    return None


def _keep(observation: Observation, primary: ServerState) -> Action:
    if observation.stale:
        return STALE
    others = [server for server in observation.reachable if server is not primary]
    for server in others:
        if server.writable:
            return Demote(server.name, primary.name, f"{primary.name} is the primary")
    for server in observation.reachable:
        if server.violations:
            return Correct(server.name, server.violations, _said(server))
    if primary.fenced:  # it was given up, and is the primary again: the others must reach it
        return Route(primary.name, "it is fenced")
    if observation.routed != "?" and (observation.routed != primary.name or observation.held):
        return Route(primary.name, f"was {observation.routed or 'none'}")
    if action := unblock(observation, primary):
        return action
    for server in others:
        if not server.diverged and not _follows(server, primary):
            why = "fenced" if server.fenced else f"followed {server.follows or 'none'}"
            return Rejoin(server.name, primary.name, why)
    if primary.stalled >= STALL_S:
        return NoAction(f"writes wait on {primary.name}, and no replica of it is there", blocked=True)
    complete = not observation.absent and all(server.receiving for server in others)
    return NoAction(f"{primary.name} is the primary", settled=complete)


def _follows(server: ServerState, primary: ServerState) -> bool:
    return server.follows == primary.name and server.applying and not server.stopped and not server.fenced


def _said(server: ServerState) -> str:
    return ", ".join(f"{name} was {seen}" for name, seen in server.violations)
