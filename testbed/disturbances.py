"""Disturbances: changes of a running testbed that no experiment on it made. What is measured meanwhile proves nothing.

Requests by hand are noted as they come. What is done past the testbed, by ``exec`` say, is noted by its effect: the
supervisor and disturbancewatch.py see it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from topo.errors import RefusedError, UsageError

SEEN = "by hand"


@dataclass
class Disturbance:
    """``time``, ``until``: s since 1970; ``who``: where it came from; ``what``: the request, or what was seen of it."""

    time: float
    until: float
    who: str
    what: str


class Disturbances:
    """All so far. Used from several threads."""

    def __init__(self) -> None:
        self._noted: list[Disturbance] = []

    def since(self, began: float) -> list[Disturbance]:
        """Those that were not over by then, in order."""
        return [disturbance for disturbance in self._noted if disturbance.until >= began]

    def note(self, who: str, what: str) -> None:
        """It happens now."""
        now = time.time()
        self._noted.append(Disturbance(now, now, who, what))

    def request(self, who: str, what: str, work: Callable[[], Any]) -> Any:
        """The answer to a request that changes something. One refused, or with nothing to do, changes nothing."""
        disturbance = Disturbance(time.time(), float("inf"), who, what)
        self._noted.append(disturbance)
        changed = True
        try:
            answer = work()
            changed = answer != []
        except (UsageError, RefusedError):
            changed = False
            raise
        finally:
            disturbance.until = time.time()
            if not changed:
                self._noted.remove(disturbance)
        return answer
