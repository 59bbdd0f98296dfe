"""A run's folder, read and validated once: all that ``judge``, ``report`` and ``compare`` know of a run.

A folder may come from anybody. What is no result, or not evidence at all, ends here in one line that names file and
field. Where an experiment's own part of the evidence is wrong, or makes no sense, the verdict is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.engine import folder, result
from experiments.engine.base import Experiment, judged
from experiments.engine.evidence import Evidence, EvidenceError, circumstances
from experiments.engine.plots import Plot
from experiments.engine.result import RunResult
from experiments.engine.verdict import Verdict


@dataclass(frozen=True)
class SavedRun:
    """``around``: the engine's part of the evidence. ``evidence``: all of it, or None, and what it ``lacks``."""

    folder: Path
    experiment: Experiment[Any]
    result: RunResult
    around: Evidence
    evidence: Evidence | None
    lacks: str
    verdict: Verdict

    def plots(self) -> Sequence[Plot]:
        """The experiment's plots, as far as the evidence makes sense."""
        try:
            return () if self.evidence is None else self.experiment.plots(self.evidence)
        except Exception:  # whatever evidence it chokes on
            return ()


def opened(path: Path, find: Callable[[str], Experiment[Any]]) -> SavedRun:
    """Read and judge a run's folder; ``find``: the experiment of a name.

    Raises UsageError, naming file and field, for what is no run; SchemaError for one of another version.
    """
    read = result.read(path)
    experiment = find(read.experiment)
    raw = folder.read(path, folder.EVIDENCE)
    around, lacks = circumstances(raw), ""
    try:
        evidence = experiment.evidence.parse(raw)
    except EvidenceError as error:
        evidence, lacks = None, str(error)
    return SavedRun(path, experiment, read, around, evidence, lacks, judged(experiment, raw))
