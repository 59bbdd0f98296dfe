"""Overlays: temporary rules above the policy, each with a match, a reason and an end.

Desired state = policy + overlays. What the switches shall hold, what the proof expects and what a status shows is made
of both; nothing else puts flows on a switch. An overlay stays until it is lifted by its name, or its time is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from topo.errors import RefusedError, UsageError, among
from topo.plan import ANY, ATTACKER, BALANCER, CLIENT, DATABASE, MONITOR, Host, Plan

DROP = "drop"
#: hosts that may be blocked at once: a detector that errs must not cut everybody off
MOST_BLOCKS = 8

# in the first table, above what is bound (100): with a fence the hosts that pass it stand one higher; pieces are at 250
FENCED, BLOCKED, BLACK_HOLED, REDIRECTED = 200, 260, 300, 400


@dataclass(frozen=True)
class Match:
    """IPv4 packets from one host to another (or from or to any), seen at one switch. ARP is never meant.

    ``port`` is the destination's. ``answers``: also what comes back from there. ``exempt``: hosts whose packets pass.
    """

    switch: str
    src: str = ANY
    dst: str = ANY
    proto: str = ANY
    port: int | None = None
    answers: bool = False
    exempt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Divert:
    """Send packets out of a port that is in no plan, to a machine that uses a host's addresses; take its answers."""

    under: str
    port: int


@dataclass(frozen=True)
class Overlay:
    """One temporary rule. ``until``: s since 1970; None: until it is lifted. The first word of the name is its kind."""

    name: str
    match: Match
    action: str | Divert
    priority: int
    reason: str
    until: float | None = None

    @property
    def kind(self) -> str:
        return self.name.split()[0]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """In one line: what, why, and until when."""
        end = "" if self.until is None else time.strftime(", until %H:%M:%S", time.localtime(self.until))
        return f"overlay {self.name}: {self.reason}{end}"

    def over(self, now: float) -> bool:
        """True if its time is over."""
        return self.until is not None and self.until <= now


def fence(plan: Plan, host: str, *, reason: str = "asked for", until: float | None = None) -> Overlay:
    """Nothing reaches a host's database and nothing comes back from it, open connections included.

    At the one switch that the host hangs on. The monitoring host still reaches it, as far as the policy lets it: a
    failover manager that fenced a database must be able to close it.
    """
    databases = [database.name for database in plan.hosts_of(DATABASE)]
    if host not in databases:
        raise UsageError(f"{host}: no host with a database; those are: {among(host, databases)}")
    monitors = tuple(monitor.name for monitor in plan.hosts_of(MONITOR))
    match = Match(_switch_of(plan, host), ANY, host, "tcp", plan.port(DATABASE), answers=True, exempt=monitors)
    return Overlay(f"fence {host}", match, DROP, FENCED, reason, until)


def black_hole(plan: Plan, src: str, dst: str, *, reason: str = "asked for", until: float | None = None) -> Overlay:
    """Packets from one host to another are dropped at the first switch; those of the other direction are not."""
    plan.host(dst)
    return Overlay(f"black-hole {src} {dst}", Match(_switch_of(plan, src), src, dst), DROP, BLACK_HOLED, reason, until)


def block(plan: Plan, host: str, *, reason: str = "asked for", until: float | None = None) -> Overlay:
    """All packets of a host are dropped: it is recognised by its switch port and the address bound there."""
    return Overlay(f"block {host}", Match(_switch_of(plan, host), host), DROP, BLOCKED, reason, until)


def strangers(plan: Plan) -> list[Host]:
    """The hosts that are visitors and nothing else: the site needs none of them, so each may be blocked."""
    return [host for host in plan.hosts if host.roles and set(host.roles) <= {CLIENT, ATTACKER}]


def refuse_block(plan: Plan, overlay: Overlay, standing: Iterable[Overlay]) -> None:
    """Raise UsageError for a block of a host that the site needs, which would do the attacker's work, and RefusedError
    for one too many beside those that stand."""
    if overlay.kind != "block":
        return
    host, names = overlay.match.src, [stranger.name for stranger in strangers(plan)]
    if host not in names:
        raise UsageError(f"{host}: the site needs it, so it is never blocked; hosts that may be: {', '.join(names)}")
    others = [other.match.src for other in standing if other.kind == "block" and other.name != overlay.name]
    if len(others) >= MOST_BLOCKS:
        raise RefusedError(f"{host}: {len(others)} hosts are blocked, and more are not at once; unblock one first")


def redirect(
    plan: Plan, server: str, port: int | str, under: str, out: int | str, *, reason: str = "asked for"
) -> Overlay:
    """Packets from the balancer to a server's port leave the switch in front of the server by the port ``out``.

    The machine there is addressed as the host ``under``; what it answers comes back under the server's address, and
    what it asks of the server reaches it under the balancer's.
    """
    balancer = plan.host_of(BALANCER).name
    match = Match(plan.path(balancer, server)[-1].switch, balancer, server, "tcp", int(port), answers=True)
    action = Divert(plan.host(under).name, int(out))
    return Overlay(f"redirect {server} {port} {under} {out}", match, action, REDIRECTED, reason)


#: the first word of an overlay's name -> its constructor, which takes the other words
KINDS: Mapping[str, Callable[..., Overlay]] = {
    "fence": fence,
    "black-hole": black_hole,
    "block": block,
    "redirect": redirect,
}


def named(plan: Plan, name: str) -> Overlay:
    """The overlay of that name, with no reason of its own. Raises UsageError when there can be none."""
    kind, *words = name.split() or [""]
    if kind not in KINDS:
        raise UsageError(f"{name}: no such overlay; kinds: {among(kind, KINDS)}")
    try:
        return KINDS[kind](plan, *words)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: no such overlay of the kind {kind}") from None


def from_dict(content: Mapping[str, Any]) -> Overlay:
    """The overlay of an ``as_dict``, also after a way through JSON."""
    match = Match(**{**content["match"], "exempt": tuple(content["match"]["exempt"])})
    action = content["action"] if isinstance(content["action"], str) else Divert(**content["action"])
    return Overlay(**{**content, "match": match, "action": action})


def kept(path: Path) -> tuple[Overlay, ...]:
    """The overlays in a controller's file, by name."""
    content = json.loads(path.read_text()) if path.exists() else []
    return tuple(from_dict(overlay) for overlay in content)


def fenced(overlays: Iterable[Overlay]) -> list[str]:
    """The hosts whose databases are fenced."""
    return [overlay.match.dst for overlay in overlays if overlay.kind == "fence"]


def _switch_of(plan: Plan, host: str) -> str:
    """The switch that a host hangs on; it has no other way to any other host."""
    plan.host(host)
    (_, end), *_ = plan.links_of(host)
    return end.node
