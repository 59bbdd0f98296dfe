"""``severed PRIMARY``: replication is cut just before the primary dies: its last transactions are nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from services.mariadb import mariadb
from testbed.faults import selection
from testbed.faults.failover import kill_database, others, sequence
from testbed.faults.kind import COMPOUND, Fault, Injection, Kind
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

#: for how long replication is cut before the crash, at most: with semisync nothing is written meanwhile
SEVERED_SECONDS = 0.3
AHEAD = 10  # transactions


@contextmanager
def _cut_off(injection: Injection, fault: Fault) -> Iterator[None]:
    """The replicas receive nothing for at most `SEVERED_SECONDS`, then the primary is killed."""
    testbed, primary = injection.testbed, fault.target
    with ExitStack() as stack:
        injection.begin()
        for name in others(testbed, primary):
            stack.enter_context(injection.also(Fault("blackhole", primary, name)))
        with suppress(DeadlineError):
            wait.until(lambda: _too_little(testbed, primary), what="writes of its own", seconds=SEVERED_SECONDS)
        ahead = _ahead(testbed, primary)
        with kill_database(injection, primary):
            if ahead > 0:
                injection.seen = f"its log was {ahead} transactions ahead of what any replica had received"
            yield


def _ahead(testbed: Testbed, primary: str) -> int:
    """Transactions in the primary's log that no replica has received."""
    statuses = [mariadb.replication(testbed.inside(name)) for name in others(testbed, primary)]
    received = max(sequence(status["Gtid_IO_Pos"]) for status in statuses)
    return sequence(mariadb.position(testbed.inside(primary))) - received


def _too_little(testbed: Testbed, primary: str) -> str | None:
    ahead = _ahead(testbed, primary)
    return None if ahead >= AHEAD else f"{ahead} transactions"


SEVERED = Kind(
    "severed",
    "PRIMARY",
    "replication is cut just before the primary dies",
    COMPOUND,
    75.0,
    selection.managed,
    _cut_off,
)
