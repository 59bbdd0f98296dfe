"""Floods, by the exact counters of the switches: which host has sent them is counted, and not guessed from samples.

A flood is ``MOST`` packets of a source in a second that an honest host does not send:

    refused  the policy denied them
    forged   they came by its port under addresses that are not bound there
    begun    each begins a TCP connection, and so takes an entry of the connection table, and most of what the source
             sends are such beginnings: whoever goes on with a connection sends more packets than beginnings
    loose    pings and datagrams, which nothing answers for

So no alarm is false, unless an honest host sends itself that many. Counters are read one switch after the other, so
beginnings, which are compared with something, are taken from the look before, and the latter from the present one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controllers.sourcecounters import BEGUN, FORGED, LOOSE, REFUSED, SENT
from services.detection.detection import FLOOD, Detection

#: packets in WINDOW_S
MOST, WINDOW_S = 500, 1.0
#: of all packets of a source: every second, where its kernel refuses the answers, less what has come since the look
#: before; of an honest connection's every fourth at most
BEGINNINGS = 0.3
WORDS = {
    REFUSED: "refused",
    FORGED: "under false addresses",
    LOOSE: "without a connection",
    BEGUN: "that begin connections",
}
#: looks that are kept; after a detection its source begins anew so much later
LOOKS, ANEW_S = 64, 1.0


@dataclass(frozen=True)
class Traffic:
    """The counters at one time: of each source, by what they count (controllers/sourcecounters.py)."""

    time: float
    sources: Mapping[str, Mapping[str, int]]

    def of(self, source: str, what: str) -> int:
        return self.sources.get(source, {}).get(what, 0)


class FloodDetector:
    """Looks at the counters, some times a second."""

    def __init__(self) -> None:
        self._looks: deque[Traffic] = deque(maxlen=LOOKS)
        self._from: dict[str, float] = {}

    def look(self, traffic: Traffic) -> Iterator[Detection]:
        """The sources of floods."""
        self._looks.append(traffic)
        for source in traffic.sources:
            looks = [look for look in self._looks if look.time >= self._since(source)]
            if len(looks) > 2 and (evidence := tuple(_evidence(source, looks[0], *looks[-2:]))):
                self._from[source] = traffic.time + ANEW_S
                yield Detection(FLOOD, source, evidence, None, looks[0].time, traffic.time)

    def _since(self, source: str) -> float:
        return max(self._looks[-1].time - WINDOW_S, self._from.get(source, 0.0))


def _evidence(source: str, first: Traffic, before: Traffic, now: Traffic) -> Iterator[str]:
    for what, words in WORDS.items():
        grown = (before if what == BEGUN else now).of(source, what) - first.of(source, what)
        sent = now.of(source, SENT) - first.of(source, SENT)
        if grown >= MOST and (what != BEGUN or grown >= BEGINNINGS * sent):
            yield f"{grown} packets {words}"
