"""The failover manager, asked on its own host: the primary, as it sees it, and how old its sight of each server is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controllers import jsonsocket
from services.monitoring.metric import GAUGE, Metric, value

ANSWER_S = 0.3


class FailoverStatus:
    """Asked of the process, not read from its note: what a dead one has noted last is no news."""

    def __init__(self, ask: str) -> None:
        self._ask = Path(ask)

    def metrics(self) -> Iterator[Metric]:
        """Raises RefusedError when it does not answer."""
        seen = jsonsocket.exchange(self._ask, "the failover manager", "observation", seconds=ANSWER_S)
        primary = Metric("failover_primary", GAUGE, ("server",))
        age = Metric("failover_observation_age_seconds", GAUGE, ("server",))
        for server, seconds in seen["ages"].items():
            primary.add(int(server == seen["primary"]), server)
            age.add(seconds, server)
        return iter((primary, age, value("failover_settled", int(seen["settled"]))))
