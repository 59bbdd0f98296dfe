"""The sentinel of intrusion detection, asked on its own host: what it has seen and found, and what it uses for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from controllers import jsonsocket
from services.monitoring.metric import COUNTER, GAUGE, Metric, counters, value

#: where it answers: {"contacts": number, "detections": {kind: number}, "cpu_s": seconds, "memory_bytes": number}
ASK = "/run/detection/detection.sock"
ANSWER_S = 0.3


class DetectionStatus:
    """One that hangs does not answer, whatever its process looks like."""

    def __init__(self, ask: str = ASK) -> None:
        self._ask = Path(ask)

    def metrics(self) -> Iterator[Metric]:
        """Raises RefusedError when it does not answer."""
        seen = jsonsocket.exchange(self._ask, "the sentinel", "status", seconds=ANSWER_S)
        yield value("detection_contacts_total", seen["contacts"], COUNTER)
        yield counters("detection_detections_total", ("kind",), {(kind,): n for kind, n in seen["detections"].items()})
        yield value("detection_cpu_seconds_total", seen["cpu_s"], COUNTER)
        yield value("detection_memory_bytes", seen["memory_bytes"], GAUGE)
