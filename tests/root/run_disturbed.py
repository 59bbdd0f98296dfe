"""Experiments that wait until they are disturbed, on a testbed of their own: what each was found to be."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.engine import runner
from experiments.engine.base import Experiment
from experiments.engine.evidence import Evidence
from experiments.engine.run import Run
from experiments.engine.verdict import Verdict
from testbed import session
from testbed.body import Body
from testbed.testbed import Testbed
from topo import profile, wait

#: in this order; the last ones leave the testbed broken
ROUNDS = ("nothing", "read", "refused", "blocked", "policy", "block", "fault", "link", "halt", "kill")


@dataclass(frozen=True, kw_only=True)
class PatientEvidence(Evidence):
    holds: bool


class Patient(Experiment[PatientEvidence]):
    """Measures until the file ``go-on`` is there; ``measuring`` says that it has begun."""

    name, claim, evidence = "patient", "it is patient", PatientEvidence

    def __init__(self, folder: Path, *, holds: bool) -> None:
        self.folder, self.holds = folder, holds

    def measure(self, testbed: Testbed, run: Run) -> PatientEvidence:
        (self.folder / "measuring").touch()
        go_on = self.folder / "go-on"
        wait.until(lambda: None if go_on.exists() else "still waiting", what="going on", seconds=60)
        go_on.unlink()
        return PatientEvidence(holds=self.holds)

    def judge(self, evidence: PatientEvidence) -> Verdict:
        return Verdict(evidence.holds, "it was told so")

    def show(self, evidence: PatientEvidence, verdict: Verdict) -> str:
        return ""

    def page(self, evidence: PatientEvidence) -> str:
        return ""


class PatientRounds(Body):
    """One run after the other; each result is in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, testbed: Testbed) -> int:
        for name in ROUNDS:
            # it would fail: so it is seen that a disturbed run does not
            if name == "blocked":
                testbed.overlays.block("attacker", 60.0, "before it began")
            result = self._run(testbed, holds=False)
            result["blocked"] = [overlay.match.src for overlay in testbed.overlays.standing]
            if name == "blocked":
                testbed.overlays.unblock("attacker")
            (self.folder / f"{name}.part").write_text(json.dumps(result))
            (self.folder / f"{name}.part").rename(self.folder / f"{name}.json")
        return 0

    def _run(self, testbed: Testbed, *, holds: bool) -> dict[str, Any]:
        result, path = runner.run(Patient(self.folder, holds=holds), testbed, self.folder / "runs")
        evidence: dict[str, Any] = json.loads((path / "evidence.json").read_text())
        return {"verdict": result["verdict"], "disturbances": evidence["disturbances"], "steady": evidence["steady"]}


def main(words: Sequence[str]) -> int:
    return session.in_box("patient", profile.Profile(), list(words), PatientRounds(Path(words[1])), quiet=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
