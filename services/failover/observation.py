"""What the failover manager sees at one moment: plain values, made by the rim and judged by ``decide``."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.site import gtid

#: seconds without an answer after which a server counts as silent, and without the primary's sign of life as starved
SILENT_S = 0.2


def sequence(position: str) -> int:
    """How far a GTID position reaches; 0 for none. There is one replication domain, so one number tells."""
    return max((int(each.rpartition("-")[2]) for each in position.split(",") if gtid.is_position(each)), default=0)


def writer(position: str) -> int:
    """The server_id of a position's last transaction: who was primary then; 0 for none."""
    last = max(position.split(","), key=sequence)
    return int(last.split("-")[1]) if gtid.is_position(last) else 0


@dataclass(frozen=True)
class Server:
    """One database server as seen by the manager.

    ``silent`` is seconds since it last answered. ``dead``: its host answers for it that nobody listens (connection
    refused), so the process has gone. The rest is what it said when it was last heard: ``written`` its
    own position, ``received`` the position up to which it has the relay log, ``follows`` the server it replicates from,
    ``starved`` seconds since that one last sent anything, a heartbeat included.
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
    starved: float | None = None
    error: str = ""
    fenced: bool = False

    @property
    def heard(self) -> bool:
        return not self.dead and self.silent < SILENT_S

    @property
    def position(self) -> str:
        """The furthest that it has, applied or not."""
        return max(self.written, self.received, key=sequence)

    @property
    def holds(self) -> bool:
        """Whether what it once received is still there: a restart ends both threads, and drops what was not applied."""
        return self.applying or self.writable

    @property
    def diverged(self) -> bool:
        """The one it follows told it that it has transactions which are nowhere else."""
        return bool(self.error)


@dataclass(frozen=True)
class View:
    """Everything at one moment.

    ``noted``: whom the manager last opened for writes, by its own note. ``routed``: whom the balancer sends writes to,
    None for nobody, "?" when it cannot be asked. ``held``: it may hold back connections. ``stale``: something was
    changed since the servers were asked. ``lossless``: a commit is acknowledged by one replica (``--db semisync``).
    """

    servers: tuple[Server, ...]
    lossless: bool = False
    noted: str = ""
    routed: str | None = None
    held: bool = False
    stale: bool = False
    positions: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Server:
        return next(each for each in self.servers if each.name == name)

    @property
    def heard(self) -> tuple[Server, ...]:
        return tuple(each for each in self.servers if each.heard)
