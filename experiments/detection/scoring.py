"""Numbers of ``detection``: what of an attack was before a moment, who was served, and bounds on what was never seen.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controllers.denied import Headers, parse
from experiments.detection.evidence import BlockedWhile, HonestRow
from experiments.wire.pcap import Pcap

#: an answer that takes longer is no service (s)
IN_TIME = 1.0
REFUSED = (400, 403, 413, 429, 431)


@dataclass(frozen=True)
class Deed:
    """Something that an attack did. ``target``: known for packets; ``status``: the answer, if it was one to a request.

    ``denied``: the policy does not let it through.
    """

    time: float
    count: int = 1
    target: tuple[str, str, int | None] | None = None
    status: int | None = None
    denied: bool = False


def sent_by(source: str, capture: bytes, allowed: Callable[[Headers], bool]) -> Iterator[Deed]:
    """The packets with which an address begins something, as a capture of its link has them.

    What goes on with a conversation that another has begun, or that was allowed, is no new target.
    """
    pcap = Pcap(capture)
    for _, begin, end, _ in pcap.records():
        headers = parse(pcap.data[begin:end])
        if headers.src == source:
            target = (headers.dst, headers.proto, headers.port)
            yield Deed(pcap.time(begin), 1, target, denied=not allowed(headers))


def in_all(deeds: Iterable[Deed], until: float = math.inf) -> int:
    """Different targets before a moment, or where there are none the sum of what was done."""
    early = [deed for deed in deeds if deed.time < until]
    targets = {deed.target for deed in early if deed.target}
    return len(targets) or sum(deed.count for deed in early)


def nth_denied(deeds: Iterable[Deed], n: int) -> float | None:
    """When the n-th different target was asked for that is denied."""
    targets: set[object] = set()
    for deed in deeds:
        if deed.denied:
            targets.add(deed.target)
            if len(targets) == n:
                return deed.time
    return None


def nth_failure(deeds: Iterable[Deed], n: int) -> float | None:
    """When the n-th attempt to log in had failed."""
    failed = [deed.time for deed in deeds if deed.status == 401]
    return failed[n - 1] if len(failed) >= n else None


def served(outcomes: Iterable[Mapping[str, object]], began: float, ended: float) -> float | None:
    """The share of requests due in a while that were answered in time, and not with an error; None of nothing."""
    due = [row for row in outcomes if began <= row["time"] < ended]  # type: ignore[operator]
    good = [row for row in due if row["status"] is not None and row["status"] < 500 and row["latency_s"] <= IN_TIME]  # type: ignore[operator]
    return len(good) / len(due) if due else None


def honest_rows(outcomes: Iterable[Mapping[str, object]]) -> list[HonestRow]:
    """The requests of visitors of each kind, and those of them that were refused or not answered."""
    rows: dict[str, HonestRow] = {}
    for outcome in outcomes:
        who = str(outcome["who"])
        row = rows.setdefault(who, {"who": who, "visits": 0, "requests": 0, "refused": 0, "unanswered": 0})
        row["visits"] += bool(outcome["begins"])
        row["requests"] += 1
        row["refused"] += outcome["status"] in REFUSED
        row["unanswered"] += outcome["status"] is None
    return sorted(rows.values(), key=lambda row: -row["requests"])


def of_honest(blocks: Iterable[BlockedWhile], client: str, guilty: Sequence[tuple[float, float]]) -> list[BlockedWhile]:
    """The blocks of the honest visitors' host, but for whiles in which it took part in an attack."""
    return [
        block
        for block in blocks
        if block["host"] == client and not any(began <= block["began"] <= ended for began, ended in guilty)
    ]
