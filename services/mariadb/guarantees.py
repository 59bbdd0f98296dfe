"""The settings that the promise of no lost write rests on, in one place.

The configuration is rendered from them. The failover manager and the steady state compare them with what a server says
it has, because one SET GLOBAL by hand takes the promise away and nothing else shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from topo.profile import Profile

#: what was found: the setting's name, and its value now
Violation = tuple[str, str]

DURABLE = {
    "binlog_format": "ROW",
    "gtid_strict_mode": "ON",
    "slave_exec_mode": "STRICT",
    "sync_binlog": "1",
}
LOSSLESS = {
    # the commit itself is flushed too, so that what a client was told is never among what recovery takes back
    "innodb_flush_log_at_trx_commit": "3",
    "rpl_semi_sync_slave_enabled": "ON",
    "rpl_semi_sync_master_wait_point": "AFTER_SYNC",
    "rpl_semi_sync_master_wait_no_slave": "ON",
    "rpl_semi_sync_master_timeout": "18446744073709551615",
}
#: of a server that takes writes; any other has it off, so that what it applies waits for nobody
LOSSLESS_PRIMARY = {"rpl_semi_sync_master_enabled": "ON"}
#: semisync that was given up, after a timeout that somebody had set: off and on again is back to waiting
GIVEN_UP = "Rpl_semi_sync_master_status"
SWITCHES = {"1": "ON", "0": "OFF"}


def guarantees(profile: Profile) -> dict[str, str]:
    """The settings that every database of a design has, as they stand in its configuration."""
    if profile.db == "semisync":
        return DURABLE | LOSSLESS
    return DURABLE | {"innodb_flush_log_at_trx_commit": "1"}


def of_primary(promised: Mapping[str, str]) -> dict[str, str]:
    """The settings of a server that takes writes."""
    return {**promised, **(LOSSLESS_PRIMARY if LOSSLESS.keys() <= promised.keys() else {})}


def question(promised: Mapping[str, str]) -> str:
    """The columns of a SELECT that tell how they are now, each under its own name."""
    return ", ".join(f"@@GLOBAL.{name} AS {name}" for name in of_primary(promised))


def violations(promised: Mapping[str, str], row: Mapping[str, object], *, writable: bool) -> tuple[Violation, ...]:
    """Those that are not as promised, by the answer to ``question``."""
    due = of_primary(promised) if writable else promised
    return tuple((name, str(row[name])) for name, value in due.items() if not _equal(value, str(row[name])))


def _equal(promised: str, seen: str) -> bool:
    return promised == (SWITCHES.get(seen, seen) if promised in SWITCHES.values() else seen)


def corrections(promised: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The statements that put settings back; semisync that was given up last, when its timeout is right again."""
    due, wrong = of_primary(promised), list(names)
    statements = [f"SET GLOBAL {name} = {due[name]}" for name in wrong if name != GIVEN_UP]
    if GIVEN_UP in wrong:
        statements += [f"SET GLOBAL rpl_semi_sync_master_enabled = {value}" for value in ("OFF", "ON")]
    return statements
