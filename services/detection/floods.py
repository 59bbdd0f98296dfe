"""Floods, by the exact counters of the switches: which host has sent them is proved, and not guessed from samples.

A flood is ``MOST`` packets of a source in a second that an honest host does not send:

    refused     the policy denied them
    forged      they came by its port under addresses that are not bound there
    begun       each begins a conversation, and so takes an entry of the connection table, and most of what the source
                sends are such beginnings: whoever goes on with a connection sends more packets than beginnings
    connectionless  pings and datagrams of a rule that has no handshake: the rule has met more than all other hosts
                together have sent

No alarm is false that way for an honest host, which denies itself ``MOST`` refused packets a second, and sends at least
two packets more in each connection that it begins. Open vSwitch adds up its counters twice a second, one after the
other, so what is to be large is taken from the look before, and what it is compared with from the present one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from services.detection.detection import FLOOD, Detection

#: packets in WINDOW_S
MOST, WINDOW_S = 500, 1.0
#: of all packets of a source; an honest connection has one beginning in four packets at least
BEGINNINGS = 0.5
SENT, BEGUN, REFUSED, FORGED = "sent", "begun", "refused", "forged"
WORDS = {REFUSED: "refused", FORGED: "under false addresses", BEGUN: "that begin conversations"}
#: looks that are kept
LOOKS = 64


@dataclass(frozen=True)
class Traffic:
    """The counters at one time: of each source, by what they count; of each rule without a handshake."""

    time: float
    sources: Mapping[str, Mapping[str, int]]
    rules: Mapping[str, int] = field(default_factory=dict)

    def of(self, source: str, what: str) -> int:
        return self.sources.get(source, {}).get(what, 0)

    def all_but(self, source: str) -> int:
        return sum(counts.get(SENT, 0) for name, counts in self.sources.items() if name != source)


class FloodDetector:
    """Looks at the counters, some times a second."""

    def __init__(self) -> None:
        self._looks: deque[Traffic] = deque(maxlen=LOOKS)

    def look(self, traffic: Traffic) -> Iterator[Detection]:
        """The sources of floods: each once a look, while its flood lasts."""
        self._looks.append(traffic)
        *earlier, before, now = self._looks if len(self._looks) > 1 else (None, traffic)
        if before is None or not earlier:
            return
        first = next((look for look in earlier if look.time >= before.time - WINDOW_S), before)
        for source in now.sources:
            if evidence := _evidence(source, first, before, now):
                yield Detection(FLOOD, source, evidence, None, first.time, now.time)


def _evidence(source: str, first: Traffic, before: Traffic, now: Traffic) -> tuple[str, ...]:
    def grown(what: str, until: Traffic = before) -> int:
        return _rise(lambda traffic: traffic.of(source, what), first, until)

    counted = [what for what in (REFUSED, FORGED) if grown(what) >= MOST]
    if grown(BEGUN) >= MOST and grown(BEGUN) >= BEGINNINGS * grown(SENT, now):
        counted.append(BEGUN)
    others = _rise(lambda traffic: traffic.all_but(source), first, now)
    proved = {rule: before.rules.get(rule, 0) - first.rules.get(rule, 0) - others for rule in now.rules}
    return (
        *(f"{grown(what)} packets {WORDS[what]}" for what in counted),
        *(f"{number} packets of rule {rule}" for rule, number in proved.items() if number >= MOST),
    )


def _rise(count: Callable[[Traffic], int], first: Traffic, last: Traffic) -> int:
    """A counter that began anew has not risen."""
    return max(0, count(last) - count(first))
