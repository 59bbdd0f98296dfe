"""The watch: reads what is new, gives it to the detectors, and answers what they find. All effects are here.

Samples of denied packets and the log store are looked at fifty times a second, which costs a ``stat`` each where
nothing has come; the counters five times a second.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from controllers import denied, jsonsocket, northbound
from services.detection.detection import KINDS, Detection
from services.detection.detectors import Detectors
from services.detection.floods import FloodDetector, Traffic
from services.detection.readers import KnownHosts, Readers, Weighed
from services.monitoring import logstore
from services.monitoring.detectionstatus import ASK
from services.monitoring.logfollower import LogFollower
from topo.errors import FoobarError
from topo.eventlog import EventLog
from topo.plan import plan
from topo.profile import Profile

LOOK_S, COUNTERS_S = 0.02, 0.2
#: a controller that takes longer is asked again
ANSWER_S, BLOCK_S = 0.5, 3.0
#: a block that cannot be had is asked for again for so long; a detection that nobody is blocked for is told so seldom
RETRY_S, QUIET_S = 30.0, 30.0
#: while this file is there nothing is blocked: an experiment attacks on purpose, and is about something else
PAUSED = "/run/detection/paused"


class Inlet:
    """A file that grows, and what each of its lines is evidence of."""

    def __init__(self, path: str, read: Callable[[bytes], Iterator[Weighed]]) -> None:
        self._path = path
        self._read = read
        self._follower = LogFollower(path)
        self._seen: object = None

    def skip(self) -> None:
        """Pass over all that is there already: it has been judged, or happened before anybody judged."""
        for _ in self._follower.all_lines():
            pass

    def weighed(self) -> Iterator[Weighed]:
        if (seen := self._signature()) != self._seen:
            self._seen = seen
            for line in self._follower.all_lines():
                yield from self._read(line)

    def _signature(self) -> object:
        with suppress(OSError):
            status = os.stat(self._path)
            return status.st_ino, status.st_size, status.st_mtime_ns
        return None


class ControllerLink:
    """The controller, as far as detection asks it. Raises FoobarError."""

    def __init__(self, path: Path = northbound.SOCKET) -> None:
        self._path = path

    def standing(self) -> set[str]:
        """The hosts that are blocked."""
        told = northbound.ask("overlays", socket=self._path, seconds=BLOCK_S)["overlays"]
        return {row["match"]["src"] for row in told if row["name"].startswith("block ")}

    def block(self, host: str, reason: str) -> float:
        """It is in force when this returns; until when, the controller decides (controllers/blocks.py)."""
        told = northbound.ask("block", socket=self._path, seconds=BLOCK_S, host=host, reason=reason)
        return float(told["until"])

    def traffic(self, visitors: Collection[str]) -> Traffic:
        """The counters of visitors: another host's answers to a flood are none."""
        told = northbound.ask("counters", socket=self._path, seconds=ANSWER_S)
        return Traffic(time.time(), {host: counts for host, counts in told["sources"].items() if host in visitors})


class AttackWatch:
    """``config``: see Sentinel.files."""

    def __init__(
        self,
        config: Mapping[str, Any],
        samples: str = str(denied.EVENTS),
        store: str = logstore.CURRENT,
        controller: ControllerLink | None = None,
        paused: str = PAUSED,
    ) -> None:
        readers = Readers(Detectors(), KnownHosts.of(plan(Profile(**config["profile"]))))
        self._inlets = (Inlet(samples, readers.of_sample), Inlet(store, readers.of_stored))
        self._floods = FloodDetector()
        self._visitors = frozenset(config["visitors"])
        self._controller = controller or ControllerLink()
        self._log = EventLog(Path(config["log"]))
        self._paused = Path(paused)
        self._contacts = 0
        self._detections = Counter(dict.fromkeys(KINDS, 0))
        self._waiting: dict[str, Detection] = {}
        self._said: dict[tuple[str, str, str], float] = {}
        self._since = time.time()
        self._counters_at = 0.0
        for inlet in self._inlets:
            inlet.skip()
        self._log.note("started")

    def run(self) -> None:
        """Until it is killed; asked meanwhile, it says how it does (detectionstatus.py)."""
        jsonsocket.serve(jsonsocket.listening(Path(ASK)), {"status": self.status})
        while True:
            self.look()
            time.sleep(LOOK_S)

    def status(self) -> dict[str, Any]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used = {"cpu_s": round(time.process_time(), 3), "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE")}
        return {"contacts": self._contacts, "detections": dict(self._detections), **used}

    def look(self) -> None:
        """One look at everything that is due."""
        for inlet in self._inlets:
            for detector, contact in inlet.weighed():
                if contact.time >= self._since:
                    self._contacts += 1
                    self._found(detector.take(contact))
        if time.monotonic() >= self._counters_at:
            self._counters_at = time.monotonic() + COUNTERS_S
            for detection in list(self._waiting.values()):
                self._block(detection)
            with suppress(FoobarError):  # it may be away; packets go on, and so does all other evidence
                self._found(self._floods.look(self._controller.traffic(self._visitors)))

    def _found(self, detections: Iterable[Detection]) -> None:
        for detection in detections:
            self._detections[detection.kind] += 1
            if detection.source not in self._visitors:
                self._note(detection, why="the site needs this host")
            elif self._paused.exists():
                self._note(detection, why="blocking is paused")
            else:
                self._block(detection)

    def _block(self, detection: Detection) -> None:
        """Block its source. What cannot be done now is tried again for a while."""
        self._waiting.pop(detection.source, None)
        found = round(time.time(), 6)
        try:
            if detection.source not in self._controller.standing():
                until = self._controller.block(detection.source, detection.text)
                self._log.note("detection", found=found, **detection.event(until))
        except FoobarError as error:
            self._note(detection, why=str(error))
            if time.time() < detection.time + RETRY_S:
                self._waiting[detection.source] = detection

    def _note(self, detection: Detection, why: str) -> None:
        """Tell of one that nobody is blocked for: not again and again."""
        key, now = (detection.kind, detection.source, why), time.monotonic()
        if now - self._said.get(key, -QUIET_S) >= QUIET_S:
            self._said[key] = now
            self._log.note("detection", **detection.event(None, why))
