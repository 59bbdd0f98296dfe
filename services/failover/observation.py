"""The failover manager's observation at one time: plain values, made by the control loop and judged by ``decide``."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.mariadb.guarantees import Violation
from services.site import gtid

#: seconds without an answer after which a server counts as silent, and without a heartbeat of its primary as cut off
SILENT_S = 0.2


def sequence(position: str) -> int:
    """The sequence number that a GTID position reaches; 0 for none. With one replication domain one is enough."""
    return max((int(part.rpartition("-")[2]) for part in position.split(",") if gtid.is_position(part)), default=0)


def last_writer(position: str) -> int:
    """The server_id of a position's last transaction: the primary of that time; 0 for none."""
    last = max(position.split(","), key=sequence)
    return int(last.split("-")[1]) if gtid.is_position(last) else 0


@dataclass(frozen=True)
class ServerState:
    """One database server as the manager sees it.

    ``silent``: seconds since it last answered. ``dead``: its host refuses connections, so the process has gone. The
    rest is from its last answer: ``written`` its own position, ``received`` the position up to which it has the relay
    log, ``follows`` the server it replicates from, ``heartbeat_age`` seconds since that server last sent anything.

    ``answering``: seconds since its silence ended, ``uptime``: since it started. ``violations``: settings that are not
    as promised. Of a server that takes writes: ``stalled``, seconds for which applications' writes have waited and not
    one has ended; ``unacknowledged``, whether they wait for a replica; ``unprotected``, whether commits are told to
    clients with no replica asked; ``leaving``, the replicas whose connection has been ended here and has not gone;
    ``closed``, whether it lets no new connection in.
    """

    name: str
    number: int
    silent: float = 0.0
    dead: bool = False
    writable: bool = False
    written: str = ""
    received: str = ""
    follows: str = ""
    receiving: bool = False
    stopped: bool = False
    applying: bool = False
    heartbeat_age: float | None = None
    error: str = ""
    fenced: bool = False
    answering: float = 1e9
    uptime: float = 1e9
    violations: tuple[Violation, ...] = ()
    stalled: float = 0.0
    unacknowledged: bool = False
    unprotected: bool = False
    leaving: tuple[str, ...] = ()
    closed: bool = False

    @property
    def reachable(self) -> bool:
        return not self.dead and self.silent < SILENT_S

    @property
    def position(self) -> str:
        """The furthest that it has, applied or not."""
        return max(self.written, self.received, key=sequence)

    @property
    def keeps_relay_log(self) -> bool:
        """True if what it once received is still there: a restart ends both threads, and drops what was not applied."""
        return self.applying or self.writable

    @property
    def diverged(self) -> bool:
        """Its primary has told it that it has transactions which the primary does not."""
        return bool(self.error)


@dataclass(frozen=True)
class Observation:
    """Everything at one time.

    ``noted``: the server that the manager last opened for writes, by its own note. ``routed``: the server to which the
    balancer sends writes, None for none, "?" when the balancer cannot be asked. ``held``: the balancer may hold back
    connections. ``stale``: something was changed since the servers were asked. ``lossless``: a commit is acknowledged
    by one replica (``--db semisync``). ``booting``: the testbed has not been steady yet.
    """

    servers: tuple[ServerState, ...]
    lossless: bool = False
    noted: str = ""
    routed: str | None = None
    held: bool = False
    stale: bool = False
    booting: bool = False
    positions: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> ServerState:
        return next(server for server in self.servers if server.name == name)

    @property
    def reachable(self) -> tuple[ServerState, ...]:
        return tuple(server for server in self.servers if server.reachable)

    @property
    def absent(self) -> tuple[str, ...]:
        """The names of the servers that do not answer."""
        return tuple(server.name for server in self.servers if not server.reachable)

    @property
    def problems(self) -> list[str]:
        """All that is not as it must be and that no action mends, a line each: a steady state has none of it."""
        return [f"{server.name} cannot rejoin: {server.error}" for server in self.reachable if server.diverged]
