"""What denied packets cost the controller while something was sent: samples by switch, against what meters let pass.

Counted by the controller itself, every packet that any switch sent it; so nothing else may send it one either.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from controllers import northbound, sampling
from services.controller import NORTHBOUND
from topo.errors import FoobarError
from topo.paths import BOX

if TYPE_CHECKING:
    from testbed.testbed import Testbed

Told = Mapping[str, Any]


@contextmanager
def watched(testbed: Testbed) -> Iterator[dict[str, Any]]:
    """Filled when the block is left: {"seconds", "most", "cpu_s", "packet_ins": {switch: number}}.

    ``most``: so many the meters can have let pass in that time. The last two are None when the controller did not
    answer, or was another process by then.
    """
    evidence: dict[str, Any] = {}
    before, began = _told(testbed), time.monotonic()
    yield evidence
    after, seconds = _told(testbed), time.monotonic() - began
    most = sampling.most(sampling.unsampled(testbed.flows, testbed.unsampled), seconds)
    evidence |= {"seconds": round(seconds, 3), "most": round(most, 1), **between(before, after)}


def between(before: Told | None, after: Told | None) -> dict[str, Any]:
    """What came in between; nobody knows when a process has ended meanwhile, whose numbers began at 0."""
    if before is None or after is None or after["pid"] != before["pid"]:
        return {"cpu_s": None, "packet_ins": None}
    return {
        "cpu_s": round(after["cpu_s"] - before["cpu_s"], 3),
        "packet_ins": {
            name: number - before["packet_ins"].get(name, 0) for name, number in after["packet_ins"].items()
        },
    }


def wrong(evidence: Told) -> list[str]:
    """More than the meters let pass, in words."""
    if evidence["packet_ins"] is None or (seen := sum(evidence["packet_ins"].values())) <= evidence["most"]:
        return []
    return [
        f"the controller was sent {seen} packets in {evidence['seconds']:g} s; meters let {evidence['most']:g} pass"
    ]


def doubts(evidence: Told) -> list[str]:
    """Why that is not known."""
    return ["the controller did not tell how many packets it was sent"] if evidence["packet_ins"] is None else []


def numbers(evidence: Told) -> dict[str, Any]:
    """For a verdict: packets that the controller was sent, the most there can be, and the share of a processor."""
    if evidence["packet_ins"] is None:
        return {"packet_ins": None, "packet_ins_most": evidence["most"], "controller_cpu": None}
    return {
        "packet_ins": sum(evidence["packet_ins"].values()),
        "packet_ins_most": evidence["most"],
        "controller_cpu": round(evidence["cpu_s"] / evidence["seconds"], 4) if evidence["seconds"] else None,
    }


def _told(testbed: Testbed) -> Told | None:
    try:
        told: Told = northbound.ask("samples", socket=testbed.inside(BOX).path(NORTHBOUND))
    except FoobarError:
        return None
    return told
