"""Faults, one after the other, under a load that runs already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from experiments.web_failover.balancer import Watch
from experiments.web_failover.choice import ERROR, SILENT, Chosen
from experiments.web_failover.windows import BEFORE_SECONDS
from testbed.faults.injection import Mark, injected
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

PATIENCE_S = 3.0
#: a fault stays until the balancer has seen it, but not longer (s); silent ones long enough to wear visitors out
LONGEST = {SILENT: PATIENCE_S + 1.0, ERROR: 1.0}
LONG = 1.0
#: s, drawn anew for each fault: how much longer it stays once it was seen; how long all is well before the next
STAYS, PAUSE = (0.3, 0.5), (0.3, 0.6)


@dataclass(frozen=True)
class Hurting:
    """Each fault stays until it was seen; the next comes when the server is back and what had piled up is gone."""

    testbed: Testbed
    watch: Watch
    random: Random
    mark: Mark
    advance: Callable[[float], None] = lambda _: None

    def hurt(self, some: Sequence[Chosen], under: str, noted: list[dict[str, str]]) -> str | None:
        """These faults; what they are is added to ``noted``. Why it was not gone on with, or None."""
        time.sleep(BEFORE_SECONDS)
        for each in some:
            noted.append(each.as_dict() | {"load": under})
            try:
                self._one(each)
            except DeadlineError as error:
                return f"{each.fault}: {error}"
            self.advance(1)
        return None

    def _one(self, each: Chosen) -> None:
        with injected(self.testbed, each.fault, mark=self.mark):
            self.watch.wait_until_given_up(each.server, LONGEST.get(each.manner, LONG))
            time.sleep(self.random.uniform(*STAYS))
        self.watch.wait_for(each.server)
        self.mark("rejoined", fault=str(each.fault))
        time.sleep(self.random.uniform(*PAUSE))
