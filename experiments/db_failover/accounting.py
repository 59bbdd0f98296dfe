"""The fate of every write, as Jepsen accounts for it; and the gap in which none was acknowledged. Pure.

Each write has a name (writer, number) and is tried until the database has said yes (``ok``), until it is certain that
nothing was executed (``failed``), or until it cannot be known (``unknown``: the connection was lost after the statement
had been sent). Afterwards, with the fault healed and the writers quiet, every node's table is read.

    writes   {writer: {"ok": spans, "failed": spans, "unknown": spans}}
    owners   [[server, acknowledged, first answered, last answered, last sent], ...] in the order of the answers (s)
    nodes    {node: {"problem": text or None, "writable": bool, "rows": {writer: spans}, "twice": {writer: spans},
              "checksum": int, "state": GTIDs seen}}

A gap (ms) is from one answer to the next (s since 1970). Its parts always add up to it: what no event explains is
``unknown``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from experiments.db_failover.evidence import numbers

Write = tuple[str, int]
Writes = frozenset[Write]
#: the manager's event that ends each part, in their order
ENDS = {
    "detect": "detect",
    "fence": "fenced",
    "choose": "candidate",
    "drain": "drained",
    "promote": "promoted",
    "route": "routed",
    "follow": "repoint",
}
#: before: the last write answered before the fault; retry: from there to the next write's answer
PARTS = ("before", *ENDS, "retry", "unknown")


@dataclass(frozen=True)
class Account:
    """The findings. Only ``acknowledged``, ``failed`` and the two ``unknown_`` are as they should be in any number."""

    acknowledged: int = 0
    failed: int = 0
    unknown_done: int = 0
    unknown_not_done: int = 0
    lost: Writes = frozenset()
    duplicated: Writes = frozenset()
    failed_but_there: Writes = frozenset()
    invented: Writes = frozenset()
    two_primaries: tuple[str, ...] = ()
    diverged: tuple[str, ...] = ()
    errant: tuple[str, ...] = ()
    unread: tuple[str, ...] = field(default=())


def account(
    writes: Mapping[str, Mapping[str, str]],
    owners: Sequence[Sequence[Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    primary: str | None,
    *,
    one_writer: bool = True,
    handed_over: Sequence[tuple[str, float]] = (),
) -> Account:
    """Compare what clients were told with what the nodes have.

    ``primary``: the node whose table counts. ``one_writer``: this design allows a single one (not so Galera).
    ``handed_over``: (server, when) of each promotion that the manager reports.
    """
    ok, failed, unknown = (_named(writes, outcome) for outcome in ("ok", "failed", "unknown"))
    # a write that was promised counts as promised, whatever else is said of it
    failed, unknown = failed - ok, unknown - ok
    seen = {name: node for name, node in nodes.items() if node["problem"] is None}
    unread = tuple(f"{name}: {node['problem']}" for name, node in nodes.items() if node["problem"] is not None)
    if primary not in seen:
        return Account(len(ok), len(failed), unread=(*unread, f"no primary to read: {primary}"))
    here = _rows(seen[primary])
    return Account(
        acknowledged=len(ok),
        failed=len(failed),
        unknown_done=len(unknown & here),
        unknown_not_done=len(unknown - here),
        lost=ok - here,
        duplicated=frozenset().union(*(_twice(node) for node in seen.values())),
        failed_but_there=failed & here,
        invented=here - ok - failed - unknown,
        two_primaries=tuple(_two_primaries(owners, seen, handed_over)) if one_writer else (),
        diverged=tuple(_diverged(seen, primary)),
        errant=tuple(_errant(seen, primary)) if one_writer else (),
        unread=unread,
    )


def _named(writes: Mapping[str, Mapping[str, str]], outcome: str) -> Writes:
    return frozenset((writer, number) for writer, outcomes in writes.items() for number in numbers(outcomes[outcome]))


def _rows(node: Mapping[str, Any]) -> Writes:
    return frozenset((writer, number) for writer, text in node["rows"].items() for number in numbers(text))


def _twice(node: Mapping[str, Any]) -> Writes:
    return frozenset((writer, number) for writer, text in node["twice"].items() for number in numbers(text))


def _two_primaries(
    owners: Sequence[Sequence[Any]], seen: Mapping[str, Mapping[str, Any]], handed_over: Sequence[tuple[str, float]]
) -> Iterator[str]:
    """A server that acknowledged a write which was *sent* after its successor had acknowledged one; two open nodes.

    A write that was under way when its server was succeeded may be answered late: it was committed before, and its
    answer is no new beginning.
    """
    reigns = [owner for at, owner in enumerate(owners) if not _late(owner, owners[:at])]
    for at, (server, _, _, answered, sent) in enumerate(reigns):
        for successor, _, took_over, _, _ in reigns[:at]:
            was_before = any(owner[0] == server and owner[2] < took_over for owner in reigns)
            returned = any(to == server and took_over < when <= answered for to, when in handed_over)
            if successor != server and was_before and sent > took_over and not returned:
                yield f"{server} acknowledged {sent - took_over:.3f} s after {successor} had taken over"
                break
    writable = [name for name, node in seen.items() if node["writable"]]
    if len(writable) > 1:
        yield f"open for writes at once: {', '.join(writable)}"


def _late(owner: Sequence[Any], earlier: Sequence[Sequence[Any]]) -> bool:
    """All these answers are to writes that were sent before another server answered."""
    return any(other[0] != owner[0] and owner[4] <= other[2] for other in earlier)


def _diverged(seen: Mapping[str, Mapping[str, Any]], primary: str) -> Iterator[str]:
    """Nodes whose rows are not the primary's, once everything has been caught up with."""
    wanted = seen[primary]
    for name, node in seen.items():
        if node["rows"] != wanted["rows"]:
            missing, more = len(_rows(wanted) - _rows(node)), len(_rows(node) - _rows(wanted))
            yield f"{name} lacks {missing} rows that {primary} has, and has {more} of its own"
        elif node["checksum"] != wanted["checksum"]:
            yield f"{name} has the same writes as {primary} in other rows"


def _errant(seen: Mapping[str, Mapping[str, Any]], primary: str) -> Iterator[str]:
    """Transactions in a node's binary log that the primary's does not have."""
    known = _sequences(seen[primary]["state"])
    for name, node in seen.items():
        for origin, sequence in _sequences(node["state"]).items():
            if sequence > known.get(origin, 0):
                yield f"{name} has transactions {known.get(origin, 0) + 1} to {sequence} of {'-'.join(origin)}"


def _sequences(state: str) -> dict[tuple[str, str], int]:
    """(domain, server) -> the highest sequence number, of MariaDB's list ``0-1-17,0-2-19``."""
    gtids: Iterable[list[str]] = (gtid.strip().split("-") for gtid in state.split(",") if gtid.strip())
    return {(domain, server): int(sequence) for domain, server, sequence in gtids}


@dataclass(frozen=True)
class Gap:
    """``began``: the last answer before; ``ended``: the first one after. Both are answers that clients saw."""

    began: float
    ended: float

    @property
    def ms(self) -> float:
        return (self.ended - self.began) * 1000


def gap(answers: Sequence[float], fault: float, until: float) -> Gap | None:
    """The longest time between two answers that lies, at least in part, between the fault and ``until``.

    None when it has no end or no beginning: no answer after ``until``, or none before the fault.
    """
    ordered = sorted(answers)
    if not ordered or ordered[-1] < until or ordered[0] > fault:
        return None
    pairs = pairwise(ordered)
    around = [Gap(began, ended) for began, ended in pairs if ended > fault and began < until]
    return max(around, key=lambda pair: pair.ms, default=None)


def parts(whole: Gap, fault: float, events: Iterable[Mapping[str, Any]], *, lossless: bool = False) -> dict[str, float]:
    """The parts of the gap's time, by the manager's events: part -> ms, for every name in `PARTS`.

    ``lossless``: a commit waits for a replica, so the first write waits until one follows the new primary.
    """
    sums = dict.fromkeys(PARTS, 0.0)
    here = min(max(fault, whole.began), whole.ended)
    sums["before"] = (here - whole.began) * 1000
    ends = _ends(here, whole.ended, events, lossless=lossless)
    for part, when in sorted(ends.items(), key=lambda end: end[1]):
        sums[part if _explained(part, ends) else "unknown"] += (when - here) * 1000
        here = when
    sums["retry" if "route" in ends else "unknown"] += (whole.ended - here) * 1000
    return sums


def _ends(began: float, ended: float, events: Iterable[Mapping[str, Any]], *, lossless: bool) -> dict[str, float]:
    """When each part ended: the first detection, and of the others the last one within the gap.

    Fencing counts where the promotion waited for it, following where the first write had to.
    """
    within = [event for event in events if began <= event["time"] <= ended]
    times = {part: [float(event["time"]) for event in within if event["event"] == name] for part, name in ENDS.items()}
    sums = {part: min(when) if part == "detect" else max(when) for part, when in times.items() if when}
    if sums.get("fence", began) > sums.get("promote", ended):
        del sums["fence"]
    if not lossless or sums.get("follow", ended) < sums.get("route", began):
        sums.pop("follow", None)
    return sums


def _explained(part: str, ends: Mapping[str, float]) -> bool:
    """Is the step before it known? Else it is not known what the time up to its end went into."""
    if part == "fence":
        return "detect" in ends
    steps = [step for step in ENDS if step != "fence"]
    return part == steps[0] or steps[steps.index(part) - 1] in ends
