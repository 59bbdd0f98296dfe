"""What to do next: a pure function of what is seen. No clock, no socket, no memory.

    the primary answers and takes writes  -> keep it: close other writers, route to it, let the others follow
    its port refuses                      -> dead: a successor, at once
    it is silent                          -> dead only if its replicas miss its heartbeats too: a manager that is cut
                                             off from a living primary changes nothing
    it answers, but read-only             -> it was restarted: whoever has most takes over, it too may be the one

With semisync an acknowledged write is on the primary's disk and in the relay log of *one* replica, nobody knows which.
So a successor is chosen only when all servers but one are heard, and either the last writer is among them or none of
the others has been restarted since (a restart drops what was received and not applied). Otherwise it waits: no write
rather than a lost one.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.failover.observation import SILENT_S, Server, View, sequence, writer


@dataclass(frozen=True)
class Stay:
    """Nothing to do, or (``blocked``) nothing that may be done yet. ``settled``: everybody follows the primary."""

    why: str
    settled: bool = False
    blocked: bool = False


@dataclass(frozen=True)
class Succeed:
    """``candidate`` becomes the primary in the place of ``old`` ("" at boot)."""

    candidate: str
    old: str
    why: str
    positions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Route:
    """The balancer sends writes to ``primary`` and to nobody else."""

    primary: str
    why: str


@dataclass(frozen=True)
class Demote:
    """A second server takes writes: close it."""

    server: str
    primary: str
    why: str


@dataclass(frozen=True)
class Join:
    """``server`` follows ``primary`` from now on, and is no longer fenced."""

    server: str
    primary: str
    why: str


Action = Stay | Succeed | Route | Demote | Join


def decide(view: View) -> Action:
    """The next step."""
    if not view.heard:
        return Stay("no server is heard: this host itself is cut off", blocked=True)
    name = incumbent(view)
    if not name:
        absent = [each.name for each in view.servers if not each.heard]
        if absent:
            return Stay(f"no primary is known, and {', '.join(absent)} not heard", blocked=True)
        return _elect(view, "", "nobody takes writes yet")
    primary = view[name]
    if primary.heard:
        if primary.writable:
            return _reign(view, primary)
        return _elect(view, name, f"{name} is read-only")
    if primary.dead:
        return _elect(view, name, f"{name} refuses connections")
    if primary.silent < SILENT_S:
        return Stay(f"{name} has not answered for {primary.silent * 1000:.0f} ms")
    return _silent(view, primary)


def incumbent(view: View) -> str:
    """Who is the primary, dead or alive: by the manager's note, by the balancer, or because it alone takes writes."""
    known = {each.name for each in view.servers}
    for name in (view.noted, view.routed):
        if name in known:
            return str(name)
    writers = [each.name for each in view.heard if each.writable]
    return writers[0] if len(writers) == 1 else ""


def _silent(view: View, primary: Server) -> Action:
    followers = [each for each in view.heard if each.follows == primary.name and each.starved is not None]
    fed = [each.name for each in followers if each.receiving and (each.starved or 0.0) < SILENT_S]
    if fed:
        return Stay(f"{primary.name} is silent here, but feeds {', '.join(fed)}", blocked=True)
    if not followers:
        return Stay(f"{primary.name} is silent, and no replica confirms it", blocked=True)
    names = ", ".join(each.name for each in followers)
    return _elect(view, primary.name, f"{primary.name} is silent here and to {names}")


def _elect(view: View, old: str, why: str) -> Action:
    """The server with most transactions; of equals one that is open already, the old one, then the first listed."""
    if view.stale:
        return Stay("what was done has not been seen yet")
    if view.lossless and (problem := unsafe(view)):
        return Stay(f"{why}; {problem}", blocked=True)
    order = [each.name for each in view.servers]
    best = max(
        view.heard,
        key=lambda each: (
            sequence(each.position),
            each.writable,
            sequence(each.written),
            each.name == old,
            -order.index(each.name),
        ),
    )
    behind = [each.name for each in view.heard if each.writable and each is not best]
    if behind and not view.lossless:
        return Demote(behind[0], best.name, f"{best.name} has more")
    return Succeed(best.name, old, why, tuple((each.name, each.position) for each in view.heard))


def unsafe(view: View) -> str | None:
    """Why choosing now could lose an acknowledged write; None when it cannot. See the module's docstring."""
    absent = [each.name for each in view.servers if not each.heard]
    if len(absent) > 1:
        return f"{' and '.join(absent)} are not heard: either may hold the only copy of an acknowledged write"
    furthest = max((each.position for each in view.heard), key=sequence)
    if not furthest or writer(furthest) in {each.number for each in view.heard}:
        return None
    restarted = [each.name for each in view.heard if not each.holds]
    if restarted:
        return f"{', '.join(restarted)} has been restarted and {', '.join(absent)} is not heard"
    return None


def _reign(view: View, primary: Server) -> Action:
    if view.stale:
        return Stay("what was done has not been seen yet")
    others = [each for each in view.heard if each is not primary]
    for each in others:
        if each.writable:
            return Demote(each.name, primary.name, f"{primary.name} is the primary")
    if primary.fenced:  # it was given up, and is the primary again: the others must reach it
        return Route(primary.name, "it is fenced")
    if view.routed != "?" and (view.routed != primary.name or view.held):
        return Route(primary.name, f"was {view.routed or 'nobody'}")
    for each in others:
        joined = each.follows == primary.name and each.applying and not each.stopped and not each.fenced
        if not joined and not each.diverged:
            return Join(each.name, primary.name, "fenced" if each.fenced else f"followed {each.follows or 'nobody'}")
    present = len(others) == len(view.servers) - 1
    return Stay(f"{primary.name} is the primary", settled=present and all(each.receiving for each in others))
