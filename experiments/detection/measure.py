"""Measuring ``detection``: honest visitors, then one attack after the other beside them, then the forgeries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from controllers.compile import OWN_COOKIES
from controllers.ovs import ofctl
from experiments.detection import scoring
from experiments.detection.assault import Assault
from experiments.detection.attacks import LOGIN, SLOW, Attack, attacks, chosen, flood_settings, flood_words, needed
from experiments.detection.crowd import CrowdSettings
from experiments.detection.detector import DetectorFixture
from experiments.detection.evidence import AttackRow, DetectionEvidence, ForgedRow
from experiments.detection.lookout import Lookout
from experiments.instruments import load
from experiments.instruments.worker import ENVIRONMENT, HostWorker
from topo import plan as roles
from topo import wait
from topo.environment import SYSTEM_PATH
from topo.errors import DeadlineError, FoobarError
from topo.plan import SITE

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

CROWD = "experiments.detection.crowd"
HONEST = "honest.jsonl"
#: s: between two attacks, so that what one has left behind is over; how long the visitors may take for a first request
PAUSE_SECONDS, FIRST_SECONDS = 1.0, 20.0
#: ... and when it was about connections or log-ins, which the balancer counts for 10 s, in part for 10 s more
COUNTED_SECONDS = 21.0
FORGED_RATE = 15_000
#: of an attack, the second in which it may still be felt
FELT_SECONDS = 1.0


def measure(testbed: Testbed, run: Run) -> DetectionEvidence:
    """Everything, in that order."""
    detector = DetectorFixture(testbed, str(run.options["spoil"]))
    with Lookout(testbed) as lookout:
        try:
            return DetectionMeasurement(testbed, run, lookout, detector).all()
        finally:
            detector.fresh()
            if detector.spoilt == "deaf":
                DetectorFixture(testbed).fresh()


@dataclass
class DetectionMeasurement:
    """One run on one testbed. ``guilty``: whiles in which the honest visitors' host attacked."""

    testbed: Testbed
    run: Run
    lookout: Lookout
    detector: DetectorFixture
    outcomes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = self.testbed.plan
        self.client = self.plan.host_of(roles.CLIENT).name
        self.assault = Assault(self.testbed, self.run, self.lookout)

    def all(self) -> DetectionEvidence:
        victim = self._victim()
        every = chosen(attacks(self.plan, victim), str(self.run.options["attacks"]))
        there = [
            attack for attack in every if all(shutil.which(program, path=SYSTEM_PATH) for program in needed(attack))
        ]
        evidence: dict[str, Any] = {
            "detector": self.detector.there,
            "spoilt": self.detector.spoilt,
            "client": self.client,
            "left_out": sorted(attack.name for attack in every if attack not in there),
            "scheduled": len(there),
        }
        self.detector.fresh()
        with self._crowd() as crowd:
            evidence |= self._honest()
            evidence["attacks"], evidence["stopped"] = self._attacks(there, crowd)
            evidence["forged"] = self._forged()
        evidence["blocks"] = self.lookout.blocks
        for row in evidence["attacks"]:
            row["served"] = scoring.served(self.outcomes, row["began"] + FELT_SECONDS, row["ended"])
        load.compress(self.run.folder, HONEST)
        return DetectionEvidence(**evidence)

    def _victim(self) -> str:
        """A new account, whose password somebody will guess at."""
        name = f"victim-{self.run.random.getrandbits(32):08x}"
        words = (f"https://{SITE}", name, f"{self.run.random.getrandbits(64):x}", "Hello!")
        visit = (sys.executable, "-m", "experiments.instruments.visit", *words)
        done = self.testbed.inside(self.client).run(visit, seconds=60, environment=ENVIRONMENT)
        if done.returncode:
            raise FoobarError("the account that is attacked could not be made", detail=done.stderr)
        return name

    @contextmanager
    def _crowd(self) -> Iterator[HostWorker]:
        """The honest visitors, from now on; the block begins when the first has been answered."""
        settings = CrowdSettings(rate=float(self.run.options["rate"]), seed=self.run.random.getrandbits(32))
        first = threading.Event()

        def hear(line: str) -> None:
            out.write(line)
            self.outcomes.append(json.loads(line))
            first.set()

        def look() -> str | None:
            worker.check()
            return None if first.is_set() else "no answer"

        inside = self.testbed.inside(self.client)
        with (
            self.run.folder.create(HONEST, "w") as out,
            HostWorker("crowd", inside, CROWD, asdict(settings), hear) as worker,
        ):
            wait.until(look, what="the first visitor's answer", seconds=FIRST_SECONDS)
            yield worker

    def _honest(self) -> dict[str, Any]:
        wanted, began = int(self.run.options["requests"]), time.time()
        with self.run.phase("honest visitors", wanted) as progress:
            self.detector.blame()
            known = 0
            while len(self.outcomes) < wanted:
                time.sleep(0.1)
                progress.advance(len(self.outcomes) - known)
                known = len(self.outcomes)
        ended = time.time()
        found = {
            "honest_while": (began, ended),
            "honest": scoring.honest_rows(self.outcomes),
            "served": scoring.served(self.outcomes, began, ended - FELT_SECONDS),
            "named": sorted(self.lookout.blamed(began)),
        }
        for name, value in found.items():
            self.run.keep(name, value)
        return found

    def _attacks(self, wanted: list[Attack], crowd: HostWorker) -> tuple[list[AttackRow], str | None]:
        rows: list[AttackRow] = []
        self.run.keep("attacks", rows)
        for attack in wanted:
            try:
                with self.run.phase(attack.name), self._without(crowd, attack):
                    self._both(attack, rows)
            except DeadlineError as error:
                return rows, f"{attack.name}: {error}"
        return rows, None

    def _both(self, attack: Attack, rows: list[AttackRow]) -> None:
        """With the detector; and where there is one, without it: the same must get through then."""
        with self.detector.watching():
            rows.append(self.assault.carried_out(attack, control=False, patient=self.detector.there))
        pause = PAUSE_SECONDS
        if attack.family in (SLOW, LOGIN) and self.plan.profile.limits == "on":
            pause = COUNTED_SECONDS
        with self.detector.away():
            time.sleep(pause)
            if self.detector.there:
                rows.append(self.assault.carried_out(attack, control=True, patient=False))
            time.sleep(pause)  # what is still on its way is none of the next detector's

    @contextmanager
    def _without(self, crowd: HostWorker, attack: Attack) -> Iterator[None]:
        """Nobody is honest on a host that attacks."""
        if self.client not in attack.sources:
            yield
            return
        crowd.pause()
        crowd.wait_paused()
        yield
        crowd.resume()

    def _forged(self) -> ForgedRow:
        attacker, client = self.plan.host_of(roles.ATTACKER), self.plan.host_of(roles.CLIENT)
        target, count = self.plan.host_of(roles.BALANCER), int(self.run.options["forged"])
        settings = flood_settings(attacker, target, client.ip, port=0, rate=FORGED_RATE, count=count)
        settings["macs"] = (client.mac, target.mac)
        with self.run.phase("forged as client", count) as progress:
            began, before = time.time(), self._spoofed()
            process = self.testbed.inside(attacker.name).popen(flood_words(settings), stdout=subprocess.DEVNULL)
            try:
                known = before
                while process.poll() is None:
                    time.sleep(0.5)
                    now = self._spoofed()
                    progress.advance(now - known)
                    known = now
            finally:
                process.kill()
                process.wait()
            time.sleep(PAUSE_SECONDS)
        return {
            "host": client.name,
            "packets": count,
            "refused": self._spoofed() - before,
            "began": began,
            "ended": time.time(),
        }

    def _spoofed(self) -> int:
        """The packets under a false name that the attacker's switch has refused so far."""
        (_, end), *_ = self.plan.links_of(self.plan.host_of(roles.ATTACKER).name)
        return ofctl.packets_by_cookie(end.node).get(OWN_COOKIES["spoofed"], 0)


def _is_there(program: str) -> bool:
    return shutil.which(program, path=SYSTEM_PATH) is not None
