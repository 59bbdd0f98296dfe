"""What is done to the present primary, each kind a value: when it makes sense, and how it is done and undone.

A kind's ``strike`` is a ``with`` block. It is entered once the trouble is in force, having said in ``scene.proof`` how
that was seen, and left when all is healed. Whoever cannot show it leaves ``proof`` empty: such a round proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymysql

from experiments.db_failover.events import Events
from services.mariadb import mariadb
from testbed.faults.injection import Fault, injected
from topo import wait
from topo.errors import DeadlineError, FoobarError
from topo.plan import DATABASE

if TYPE_CHECKING:
    from testbed.testbed import Testbed

MANAGER = ("mon", "failover")
PROBE_SECONDS = 0.1
REACTION_SECONDS = 3.0
#: for how long replication is cut before the crash, at most: with semisync nothing is written meanwhile
SEVERED_SECONDS = 0.3
BACKLOG, CUT = 30, 10  # transactions
MANAGED = ("async", "semisync")
EVERY = ("single", *MANAGED, "galera")


@dataclass
class Scene:
    """Where a round happens. ``began``: when the trouble itself began (s); ``proof``: how it was seen in force."""

    testbed: Testbed
    mark: Callable[..., None]
    events: Events
    primary: str
    others: tuple[str, ...]
    heir: str
    began: float = 0.0
    proof: str | None = None

    def fault(self, kind: str, target: str, what: str = "") -> AbstractContextManager[Any]:
        return injected(self.testbed, Fault(kind, target, what), mark=self.mark)

    def begin(self) -> None:
        self.began = time.time()

    def prove(self, *more: str) -> None:
        """The primary's database must not greet the balancer any more, whatever else was seen."""
        if not greets(self.testbed, self.primary):
            self.proof = "; ".join((f"{self.primary} does not greet the balancer", *more))


@dataclass(frozen=True)
class Trouble:
    """One kind. ``group``: whose target its gap is held against; ``designs``: values of ``--db`` it makes sense for."""

    name: str
    what: str
    strike: Callable[[Scene], AbstractContextManager[None]]
    group: str = ""
    designs: tuple[str, ...] = EVERY
    #: writers on the struck host are cut off too: their silence says nothing about the database
    stalls_host: bool = False
    #: two of three nodes are hit: nobody promises writes before one of them is healed
    after_healing: bool = False


def possible(design: str) -> tuple[Trouble, ...]:
    """The kinds that make sense for a value of ``--db``."""
    return tuple(each for each in TROUBLES if design in each.designs)


def left_out(design: str) -> dict[str, str]:
    """The others, each with the reason."""
    return {each.name: f"--db {design} has no failover manager" for each in TROUBLES if design not in each.designs}


def greets(testbed: Testbed, server: str) -> bool:
    """Whether a server's database greets somebody who connects from the balancer."""
    with (
        suppress(OSError),
        testbed.inside("lb").connect(3306, testbed.plan.host(server).ip, PROBE_SECONDS) as connection,
    ):
        return bool(connection.recv(1))
    return False


def _struck(kind: str, what: str = "") -> Callable[[Scene], AbstractContextManager[None]]:
    """One fault at the primary."""

    @contextmanager
    def strike(scene: Scene) -> Iterator[None]:
        scene.begin()
        with scene.fault(kind, scene.primary, what):
            scene.prove()
            yield

    return strike


@contextmanager
def _candidate_too(scene: Scene) -> Iterator[None]:
    """The one that shall be promoted dies as well, as soon as it has been chosen; it comes back at once."""
    scene.begin()
    with scene.fault("kill", scene.primary, DATABASE):
        chosen = _reaction(scene, "candidate")
        if chosen:
            with scene.fault("kill", str(chosen["candidate"]), DATABASE):
                dead = not greets(scene.testbed, str(chosen["candidate"]))
            if dead:
                scene.prove(f"{chosen['candidate']} was chosen and did not greet either")
        yield


@contextmanager
def _manager_too(scene: Scene) -> Iterator[None]:
    """The manager dies just after it has noticed; whoever supervises it starts it again."""
    scene.begin()
    with scene.fault("kill", scene.primary, DATABASE):
        if _reaction(scene, "detect"):
            with scene.fault("kill", *MANAGER):
                scene.prove("the manager was killed after its detect")
        yield


@contextmanager
def _manager_first(scene: Scene) -> Iterator[None]:
    """Nobody is there to notice, at first."""
    with ExitStack() as stack:
        stack.enter_context(scene.fault("kill", *MANAGER))
        scene.begin()
        with scene.fault("kill", scene.primary, DATABASE):
            scene.prove("the manager was dead")
            stack.close()
            yield


@contextmanager
def _lagging(scene: Scene) -> Iterator[None]:
    """The replicas have received what they have not applied yet: it must not be forgotten."""
    with ExitStack() as stack:
        for name in scene.others:
            stack.enter_context(_held_up(scene, name))
        with suppress(DeadlineError):
            wait.until(lambda: _too_little(scene), what="a backlog on the replicas", seconds=REACTION_SECONDS)
        waiting = min(_backlog(scene, name) for name in scene.others)
        scene.begin()
        with scene.fault("kill", scene.primary, DATABASE):
            stack.close()
            if waiting > 0:
                scene.prove(f"{waiting} transactions were received and not applied")
            yield


@contextmanager
def _cut_off(scene: Scene) -> Iterator[None]:
    """The replicas hear nothing for a moment, then the primary dies: what it acknowledged meanwhile is nowhere else."""
    with ExitStack() as stack:
        scene.begin()
        for name in scene.others:
            stack.enter_context(scene.fault("blackhole", scene.primary, name))
        with suppress(DeadlineError):
            wait.until(lambda: _not_ahead(scene), what="writes that no replica has", seconds=SEVERED_SECONDS)
        ahead = _ahead(scene)
        with scene.fault("kill", scene.primary, DATABASE):
            if ahead > 0:
                scene.prove(f"its log was {ahead} transactions ahead of what any replica had received")
            yield


@contextmanager
def _planned(scene: Scene) -> Iterator[None]:
    """Nobody dies: the primary hands over."""
    scene.begin()
    scene.mark("switchover", to=scene.heir)
    with suppress(FoobarError):
        told = scene.testbed.switch_over(scene.heir)
        scene.proof = f"{told['primary']} took over from {told['before']}"
    scene.mark("switched over", to=scene.heir)
    yield


def _reaction(scene: Scene, event: str) -> dict[str, Any] | None:
    """The manager's event, as soon as it is in its log; None when it does not come."""
    with suppress(DeadlineError):
        return scene.events.wait_for((event,), REACTION_SECONDS, scene.began)
    return None


@contextmanager
def _held_up(scene: Scene, name: str) -> Iterator[None]:
    """A replica's applier waits for a lock that somebody else holds."""
    place = str(scene.testbed.inside(name).path(mariadb.SOCKET))
    connection = pymysql.connect(unix_socket=place, user="root", autocommit=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("LOCK TABLES foobar.messages READ")
        yield


def _backlog(scene: Scene, name: str) -> int:
    """Transactions that a replica has received and not applied."""
    status = mariadb.replication(scene.testbed.inside(name))
    return _sequence(status["Gtid_IO_Pos"]) - _sequence(mariadb.position(scene.testbed.inside(name)))


def _too_little(scene: Scene) -> str | None:
    waiting = {name: _backlog(scene, name) for name in scene.others}
    return None if min(waiting.values()) >= BACKLOG else str(waiting)


def _ahead(scene: Scene) -> int:
    """Transactions in the primary's log that no replica has received."""
    received = [_sequence(mariadb.replication(scene.testbed.inside(name))["Gtid_IO_Pos"]) for name in scene.others]
    return _sequence(mariadb.position(scene.testbed.inside(scene.primary))) - max(received)


def _not_ahead(scene: Scene) -> str | None:
    ahead = _ahead(scene)
    return None if ahead >= CUT else f"{ahead} transactions"


def _sequence(position: str) -> int:
    """The sequence number of a position with one domain."""
    return max((int(gtid.rsplit("-", 1)[1]) for gtid in position.split(",") if gtid), default=0)


TROUBLES: Sequence[Trouble] = (
    Trouble("crash", "the primary's database is killed", _struck("kill", DATABASE), "crash"),
    Trouble("freeze", "the primary's database is frozen", _struck("freeze", DATABASE), "silent"),
    Trouble("cut", "the primary's link is cut", _struck("cut"), "silent", stalls_host=True),
    Trouble("off", "the primary's host loses power", _struck("off"), "silent", stalls_host=True),
    Trouble(
        "candidate",
        "the chosen successor dies while it is being promoted",
        _candidate_too,
        designs=MANAGED,
        after_healing=True,
    ),
    Trouble("manager", "the manager dies in the middle of a failover", _manager_too, designs=MANAGED),
    Trouble("unwatched", "the manager is dead when the primary dies", _manager_first, designs=MANAGED),
    Trouble("lag", "the replicas have not applied all they have received", _lagging, designs=MANAGED),
    Trouble("severed", "replication is cut just before the primary dies", _cut_off, designs=MANAGED),
    Trouble("planned", "the primary is asked to hand over", _planned, "planned", designs=MANAGED),
)
