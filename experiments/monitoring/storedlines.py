"""The log lines of answered requests: each must be stored on the monitoring host, once it has been written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from experiments.instruments.load import Outcome
from experiments.monitoring.evidence import LineCounts
from services.monitoring import logrecord, logstore
from services.service import below
from topo import plan as roles

if TYPE_CHECKING:
    from testbed.testbed import Testbed

#: each of them logs every request with its id
TIERS = (roles.BALANCER, roles.WEB, roles.APP)
#: s: what was stored before the first request is of others
BEFORE_SECONDS = 30.0
#: a stored line: its request, and where it stood on its host
Place = tuple[str, str, str, int]


def compared(testbed: Testbed, done: Sequence[Outcome]) -> list[LineCounts]:
    """For each tier: the requests that were answered, and the lines of theirs that are stored."""
    folder, _ = below(testbed.inside(testbed.plan.host_of(roles.MONITOR).name), logstore.CURRENT)
    since = min((each.time for each in done), default=0.0) - BEFORE_SECONDS
    return rows(logstore.stored(folder, since), {each.request_id for each in done if each.request_id})


def rows(stored: Iterable[bytes], asked: set[str]) -> list[LineCounts]:
    """The same from the lines of the store, and the ids of the requests."""
    places: dict[str, list[Place]] = {tier: [] for tier in TIERS}
    for line in stored:
        with suppress(ValueError, RecursionError):
            record = logrecord.record(json.loads(line))
            if record.request in asked and record.service in places:
                places[record.service].append((record.request, record.host, record.file, record.offset))
    return [
        {
            "service": tier,
            "written": len(asked),
            "stored": len({request for request, *_ in found}),
            "copies": len(found) - len(set(found)),
        }
        for tier, found in places.items()
    ]
