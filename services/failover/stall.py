"""A primary that answers, and whose writes wait without an end: what is done about it. Pure.

    they wait for a replica's acknowledgement, and a replica's old connection does not end: it connects anew
    they wait for an acknowledgement all the same; or a replica has all of them already, or no new connection is let in:
                                               the primary is restarted, and it is decided anew who is the primary
    they wait for something else, a lock or a disk: another server takes over

With semisync, and some replica that cannot be heard by anybody, there is nothing to be done: no write rather than a
lost one. Semisync is never given up. Restarting loses nothing with semisync: what was told to a client is on the
primary's disk, and what was not is taken back when it starts (``init_rpl_role``).

The time counts from when a replica could have acknowledged: one that was away needs a moment to connect.
"""

from __future__ import annotations

from services.failover.actions import Action, HandOver, NoAction, Promote, Reconnect, Restart
from services.failover.observation import Observation, ServerState, sequence

#: seconds for which writes have waited, after which that is said, and each remedy is tried
STALL_S, RECONNECT_S, HAND_OVER_S, RESTART_S = 1.0, 1.5, 2.0, 3.5
#: how long a switchover that fails may take: the restart is not to wait for it
SWITCH_S = 1.0
#: a server that was restarted less than this ago is not restarted again
FRESH_S = 10.0


def unblock(observation: Observation, primary: ServerState) -> Action | None:
    """The remedy that it is time for; None when writes go on, or no replica is there that could help."""
    able = [server for server in observation.reachable if _may_help(server, primary)]
    if primary.stalled < STALL_S:
        return None
    if not able:
        return _unreadable(observation, primary)
    waited = min(primary.stalled, max(server.answering for server in able))
    if primary.unacknowledged:
        return _unacknowledged(primary, able, waited)
    return _held_up(observation, primary, able, waited)


def _unreadable(observation: Observation, primary: ServerState) -> Action | None:
    """Its replicas refuse its log: a disk was full, and the last that stands there is torn. What stands there and was
    told to a client is on a replica; a restart cuts off the rest."""
    refusing = [server for server in observation.reachable if server.follows == primary.name and server.diverged]
    old = primary.stalled >= RESTART_S and primary.uptime >= FRESH_S
    if not (observation.lossless and refusing and old):
        return None
    return Restart(primary.name, f"{', '.join(server.name for server in refusing)} cannot read its log")


def _may_help(server: ServerState, primary: ServerState) -> bool:
    return server.follows == primary.name and server.applying and not server.fenced and not server.diverged


def _unacknowledged(primary: ServerState, able: list[ServerState], waited: float) -> Action:
    why = f"writes on {primary.name} have waited {waited:.1f} s for an acknowledgement"
    names = ", ".join(server.name for server in able)
    leaving = [server.name for server in able if server.name in primary.leaving]
    if leaving and RECONNECT_S <= waited < RESTART_S:
        return Reconnect(leaving[0], primary.name, f"{why}; its old connection does not end")
    told = any(server.receiving and sequence(server.position) >= sequence(primary.written) for server in able)
    if (told or primary.closed) and waited >= RECONNECT_S and primary.uptime >= FRESH_S:
        return Restart(primary.name, f"{why}, and {'a replica has all of them' if told else 'it lets no replica in'}")
    # one that does not even connect to the primary helps only as a primary, with the other one as its replica
    helps = any(server.receiving for server in able) or len(able) > 1
    if waited >= RESTART_S and helps and primary.uptime >= FRESH_S:
        return Restart(primary.name, f"{why} of {names}")
    return NoAction(f"writes on {primary.name} wait for an acknowledgement of {names}", blocked=True)


def _held_up(observation: Observation, primary: ServerState, able: list[ServerState], waited: float) -> Action:
    why = f"writes on {primary.name} have not ended for {waited:.1f} s"
    best = max(able, key=lambda server: (server.receiving, sequence(server.position)))
    if waited >= RESTART_S and observation.lossless and primary.uptime >= FRESH_S:
        return Restart(primary.name, why)
    if waited >= RESTART_S and not observation.lossless and sequence(best.position) >= sequence(primary.written):
        return Promote(best.name, primary.name, why, tuple((server.name, server.position) for server in able))
    in_time = not observation.lossless or waited <= RESTART_S - SWITCH_S
    if waited >= HAND_OVER_S and best.receiving and in_time:
        return HandOver(best.name, primary.name, why)
    return NoAction(f"writes on {primary.name} do not end", blocked=True)
