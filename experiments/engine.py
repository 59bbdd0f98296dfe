"""How an experiment is run: steady state, measure, steady state, save the evidence, judge, report."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from experiments import folder, provenance, report
from experiments.base import Evidence, Experiment, Verdict, judged
from experiments.run import Run
from topo.errors import EXIT_FAILS, EXIT_HOLDS, EXIT_UNKNOWN
from topo.testbed import Testbed


def run(
    experiment: Experiment, testbed: Testbed, runs: Path, *, seed: int | None = None, repeat: int | None = None
) -> tuple[dict[str, Any], Path]:
    """Run it and return (result.json's content, the run's folder).

    Refused when the testbed is not steady; when measuring fails or is interrupted, what there is has been saved with
    status ``aborted`` before the exception goes on.
    """
    path = folder.make(runs, experiment.name)
    this = Run(path, secrets.randbits(32) if seed is None else seed, repeat)
    began = time.monotonic()
    result: dict[str, Any] = {
        "experiment": experiment.name,
        "claim": experiment.claim,
        "profile": testbed.profile.as_dict(),
        "seed": this.seed,
        "status": "aborted",
        "steady": {"before": testbed.look().holds, "after": False},
        "verdict": Verdict(None, "not measured").as_dict(),
        "provenance": provenance.provenance(provenance.command_line(), testbed.datapath),
        "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "duration_s": 0.0,
    }
    evidence: Evidence = {}
    try:
        if not result["steady"]["before"]:
            result["status"] = "refused"
            result["verdict"] = Verdict(None, f"not steady: {testbed.steady.problems}").as_dict()
            return result, path
        evidence = {**experiment.measure(testbed, this), "timeline": this.timeline}
        folder.write(path, folder.EVIDENCE, evidence)
        result["steady"]["after"] = testbed.look().holds
        result["status"] = "completed"
        result["verdict"] = judged(experiment, evidence).as_dict()
        return result, path
    finally:
        result["duration_s"] = round(time.monotonic() - began, 3)
        folder.write(path, folder.RESULT, result)
        if evidence:
            report.write(experiment, path)
        folder.hand_over(path)


def run_all(experiments: Iterable[Experiment], testbed: Testbed, runs: Path, *, as_json: bool = False) -> int:
    """Run them one after the other and show each; returns the exit code of the worst verdict."""
    codes = []
    for experiment in experiments:
        result, path = run(experiment, testbed, runs)
        if as_json:
            print(json.dumps(result, indent=1))
        else:
            report.show(experiment, result, path)
        codes.append(exit_code(result["verdict"]["holds"]))
    return max(codes)


def exit_code(holds: bool | None) -> int:
    """The exit code of a verdict."""
    return EXIT_UNKNOWN if holds is None else EXIT_HOLDS if holds else EXIT_FAILS
