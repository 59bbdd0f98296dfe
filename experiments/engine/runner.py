"""The run of an experiment: steady state, measure, steady state, save the evidence, judge, report."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timezone
from operator import itemgetter
from pathlib import Path
from typing import Any

from experiments.engine import folder, progress, provenance, report
from experiments.engine.base import Experiment, judged
from experiments.engine.evidence import Raw
from experiments.engine.run import PLAIN, Asked, Progress, Run, Silent
from experiments.engine.verdict import Verdict, worst_exit
from testbed import interruption
from testbed.testbed import Testbed
from topo import folders, wait
from topo.errors import DeadlineError, UsageError
from topo.folders import Folder
from topo.plaintext import say

# how long a testbed may take to be steady: it should be before, and recovers from faults after
BEFORE_SECONDS, AFTER_SECONDS = 5.0, 20.0

#: of result.json
SCHEMA = 1

Shown = Callable[[Experiment[Any], dict[str, Any], Path], None]


def run(
    experiment: Experiment[Any],
    testbed: Testbed,
    runs: Path,
    asked: Asked = PLAIN,
    *,
    shown: Shown = lambda *_: None,
    bar: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Run it and return (result.json's content, the run's folder); ``shown`` is told both, however the run ends.

    Refused when the testbed is not steady. When measuring fails or is interrupted, what there is has been saved with
    status ``aborted`` before the exception goes on.
    """
    place = folder.make(runs, experiment.name)
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    this = Run(place, seed, asked.repeat, asked.values(experiment.options), bar or Silent())
    evidence: dict[str, Any] = {"schema": experiment.evidence.SCHEMA}
    result = _begun(experiment, testbed, this)
    began, started = time.monotonic(), time.time()
    try:
        # the design is measured, and not whom somebody has blocked in it just now
        with nullcontext() if experiment.blocks else testbed.overlays.without_blocks():
            if _steady(testbed, this, evidence, "before", BEFORE_SECONDS):
                _measure(experiment, testbed, this, evidence)
                _steady(testbed, this, evidence, "after", AFTER_SECONDS)
                result["status"] = "completed"
            else:
                result["status"] = "refused"
    except BaseException as error:
        evidence["aborted"] = _why(error)
        raise
    finally:
        with interruption.undisturbed():
            result["duration_s"] = round(time.monotonic() - began, 3)
            _note_disturbances(testbed, this, evidence, started)
            _save(experiment, testbed, this, evidence, result)
            with _aside("showing the result"):
                shown(experiment, result, place.path)
    return result, place.path


def _begun(experiment: Experiment[Any], testbed: Testbed, this: Run) -> dict[str, Any]:
    """result.json before anything has happened."""
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "claim": experiment.claim,
        "profile": testbed.profile.as_dict(),
        "seed": this.seed,
        "repeat": this.repeat,
        "options": dict(this.options),
        "status": "aborted",
        "steady": {},
        "verdict": {},
        "provenance": provenance.provenance(provenance.command_line(), testbed.datapath),
        "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "duration_s": 0.0,
    }


def _steady(testbed: Testbed, this: Run, evidence: dict[str, Any], when: str, seconds: float) -> bool:
    """Is the testbed steady, or does it become so within some seconds? True or False; what was seen is evidence."""
    began = time.monotonic()
    problems: str | None = None

    def look() -> str | None:
        nonlocal problems
        seen = testbed.look()
        problems = None if seen.holds else seen.problems or "nothing was looked at"
        return problems

    with _shown_as(this.progress, f"steady state {when} measuring"), suppress(DeadlineError):
        wait.until(look, what="steady state", seconds=seconds)
    waited = round(time.monotonic() - began, 3)
    evidence.setdefault("steady", {})[when] = {"holds": problems is None, "problems": problems, "seconds": waited}
    return problems is None


def _measure(experiment: Experiment[Any], testbed: Testbed, this: Run, evidence: dict[str, Any]) -> None:
    """Fill ``evidence``; when measuring does not come to its end, with what was kept until then."""
    with (
        testbed.measuring(experiment.name, blocks=experiment.blocks) as this.told,
        provenance.machine_watched() as seconds,
        _shown_as(this.progress, f"measuring {experiment.name}"),
    ):
        evidence |= {"timeline": this.timeline, "machine": seconds}
        try:
            evidence |= experiment.measure(testbed, this).own()
        finally:
            evidence |= {name: value for name, value in this.kept.items() if name not in evidence}


def _note_disturbances(testbed: Testbed, this: Run, evidence: dict[str, Any], started: float) -> None:
    """Changes that the experiment did not make are evidence, and have their place on the timeline."""
    rows = [{"time": noted.time, "who": noted.who, "what": noted.what} for noted in testbed.disturbances.since(started)]
    evidence["disturbances"] = rows
    this.timeline += [{"time": row["time"], "what": "by hand", "who": row["who"], "did": row["what"]} for row in rows]
    this.timeline.sort(key=itemgetter("time"))


def _save(
    experiment: Experiment[Any], testbed: Testbed, this: Run, evidence: dict[str, Any], result: dict[str, Any]
) -> None:
    """Everything into the run's folder, what matters most first; nothing that fails here hides what failed before."""
    saved = _saved(this.folder, evidence)
    result["steady"] = {when: saved.get("steady", {}).get(when, {}).get("holds", False) for when in ("before", "after")}
    for judge in (_not_yet, judged):
        result["verdict"] = judge(experiment, saved).as_dict()
        with _aside("saving the result"):
            folder.write(this.folder, folder.RESULT, result)
    with _aside("collecting the logs"):
        folder.collect_logs(testbed, this.folder)
    with _aside("writing the report"):
        report.write(experiment, this.folder)


def _not_yet(experiment: Experiment[Any], evidence: Raw) -> Verdict:  # noqa: ARG001 - as `judged`
    """The verdict in a result while its judge is at work, which may take minutes."""
    return Verdict(None, "not judged yet: `python -m experiments judge` does it")


def _saved(place: Folder, evidence: Raw) -> Raw:
    """The evidence as it is in the folder now, which is what any later judge will see."""
    try:
        folder.write_rows(place, folder.EVIDENCE, evidence)
        saved: Raw = folder.content(place, folder.EVIDENCE)
    except (OSError, TypeError, ValueError, RuntimeError, UsageError) as error:
        say(f"foobar: the evidence cannot be saved: {error}", error=True)
        return {"aborted": f"the evidence cannot be saved: {error}"}
    return saved


@contextmanager
def _aside(what: str) -> Iterator[None]:
    """An error in here is a line, and what comes after still happens."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output has seen enough
        pass
    except Exception as error:  # whatever it is, a measurement that took an hour must not be lost to it
        say(f"foobar: {what}: {type(error).__name__}: {error}", error=True)


@contextmanager
def _shown_as(bar: Progress, what: str) -> Iterator[None]:
    bar.begin(what, None)
    try:
        yield
    finally:
        bar.end()


def _why(error: BaseException) -> str:
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


def run_all(
    experiments: Sequence[Experiment[Any]],
    testbed: Testbed,
    runs: Path,
    asked: Asked = PLAIN,
    *,
    as_json: bool = False,
    junit_file: Path | None = None,
) -> int:
    """Run them one after the other and show each; returns the exit code of the worst verdict.

    ``as_json``: standard output is one document when all is over, an object for one experiment and a list for several:
    result.json's content with the run's ``folder``. What was interrupted is in it, too.
    """
    results: list[dict[str, Any]] = []

    def shown(experiment: Experiment[Any], result: dict[str, Any], path: Path) -> None:
        results.append({**result, "folder": str(path)})
        if not as_json:
            report.show(experiment, result, path)

    try:
        for experiment in experiments:
            run(experiment, testbed, runs, asked, shown=shown, bar=progress.progress())
    finally:
        if junit_file:
            folders.write(junit_file, report.junit(results))
        if as_json and results:
            with suppress(OSError):  # standard output remembers it (testbed/standardstreams.py)
                print(json.dumps(results if len(experiments) > 1 else results[0], indent=1), flush=True)
    return worst_exit(Verdict(**result["verdict"]).exit_code for result in results)
