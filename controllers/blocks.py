"""Blocks: hosts whose packets go no further than their own switch port, for a time; and the log of them.

A detector on the monitoring host asks for one with a reason and no time, over the northbound socket:

    northbound.ask("block", host="attacker", reason="scan: 4 of 4 targets denied")
        -> {"host": "attacker", "until": 1700000060.0, "times": 1, ...}

It stands for a minute; the next one of that host for two, then four, up to an hour. A block that was lifted before its
time was a mistake: it and those before it are forgotten. Asked for again while it stands, it stays as it is, so a
detector need not remember whom it has had blocked. This memory is the controller's, for the same host may be caught by
several detectors, and none of their deaths nor the controller's makes it forgotten: it is read from the log.

With ``lasting`` (seconds; a person asks) it stands for exactly so long from now on, in place of one that stands.

Refused, with a line: a host that the site needs (UsageError), and more blocks than ``overlay.MOST_BLOCKS`` at once
(RefusedError). A switch that is away gets the block when it is back (RefusedError too: it is desired nevertheless).

The log (topo/eventlog.py) is a file of the box, which no host can write:

    blocked      ``host``, ``switch``, ``reason``, ``until`` (unix s), ``times``: how often so far
    unblocked    ``host``, ``early``: it was lifted before its time
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controllers.overlay import Overlay, block
from controllers.requests import Requests
from topo.errors import UsageError
from topo.eventlog import EventLog, events_in

FIRST_SECONDS, MOST_SECONDS, MOST_DOUBLINGS, DAY = 60.0, 3600.0, 10, 86400.0


class Blocks:
    """Asks the controller's own requests for blocks, and notes what becomes of them."""

    def __init__(self, requests: Requests, log: Path, clock: Callable[[], float] = time.time) -> None:
        self._requests = requests
        self._clock = clock
        self._noted: dict[str, float | None] = {}
        self._times: dict[str, int] = {}
        for event in events_in(log.read_bytes() if log.exists() else b""):
            self._remember(event)
        self._log = EventLog(log)

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """The northbound's requests by name."""
        return {"block": self.block, "unblock": self.unblock}

    def block(self, host: str, reason: str = "asked for", lasting: float | None = None) -> dict[str, Any]:
        """Nothing that a host sends goes on. Answered as ``put`` is, with ``host``, ``until`` and ``times``."""
        if lasting is not None and not 0 < lasting <= DAY:
            raise UsageError(f"block {host}: for {lasting:g} s: say more than none, and a day at most")
        standing = self._requests.desired.get(f"block {host}")
        if lasting is None and standing:
            wanted = standing
        else:
            until = self._clock() + (self._earned(host) if lasting is None else lasting)
            wanted = block(self._requests.desired.plan, host, reason=reason, until=until)
        answer = self._requests.put(wanted.as_dict())
        self.note()
        return {**answer, "host": host, "until": wanted.until, "times": self._times.get(host, 0)}

    def unblock(self, host: str) -> dict[str, Any]:
        """End a block before its time: the policy judges again what the host sends."""
        answer = self._requests.lift(f"block {host}")
        self.note()
        return answer

    def note(self) -> None:
        """Write into the log what has changed since the last time, whatever changed it."""
        now = self._clock()
        blocks = (overlay for overlay in self._requests.desired.overlays if overlay.kind == "block")
        standing = {overlay.match.src: overlay for overlay in blocks}
        for host, overlay in standing.items():
            if host not in self._noted or self._noted[host] != overlay.until:
                self._write("blocked", **self._told(host, overlay, now))
        for host in self._noted.keys() - standing:
            until = self._noted[host]
            early = until is None or until > now
            ended = "it was lifted" if early else "its time is over"
            self._write("unblocked", host=host, early=early, text=f"{host} is blocked no longer: {ended}")

    def _told(self, host: str, overlay: Overlay, now: float) -> dict[str, Any]:
        times = self._times.get(host, 0) + (host not in self._noted)
        lasting = "until it is lifted" if overlay.until is None else f"for {overlay.until - now:.0f} s"
        return {
            "host": host,
            "switch": overlay.match.switch,
            "reason": overlay.reason,
            "until": overlay.until,
            "times": times,
            "text": f"{host} is blocked on {overlay.match.switch} {lasting} (block {times}): {overlay.reason}",
        }

    def _earned(self, host: str) -> float:
        return min(FIRST_SECONDS * 2.0 ** min(self._times.get(host, 0), MOST_DOUBLINGS), MOST_SECONDS)

    def _write(self, event: str, **details: Any) -> None:
        self._log.note(event, **details)
        self._remember({"event": event, **details})

    def _remember(self, event: dict[str, Any]) -> None:
        host = event["host"]
        if event["event"] == "blocked":
            self._noted[host], self._times[host] = event["until"], event["times"]
        else:
            self._noted.pop(host, None)
            if event["early"]:
                self._times.pop(host, None)
