"""What an experiment is: a claim, a measurement that gives evidence, and a judgement of that evidence alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from experiments.engine.machine import TOLERATED, overloaded
from experiments.engine.options import Option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """``holds``: True, False, or None for unknown: a blind probe proves neither."""

    holds: bool | None
    because: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Experiment(ABC):
    """One claim, always the *good* property, so that a weak design fails it."""

    #: what it is called on the command line
    name: str
    #: one sentence
    claim: str
    #: its numbers are times, which a busy machine spoils: the verdict says so when it was one
    timing: bool = False
    #: it measures in rounds, so ``--repeat N`` means something
    repeats: bool = False
    #: flags of its own; their values are in ``run.options``
    options: tuple[Option, ...] = ()

    @abstractmethod
    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        """Do it on a steady testbed. Returns plain JSON data; files it makes go into ``run.folder``."""

    @abstractmethod
    def judge(self, evidence: Evidence) -> Verdict:
        """Pure: the same evidence gives the same verdict, today and years later, without root or a network."""

    @abstractmethod
    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        """What is printed at the end of a run, above the verdict."""

    @abstractmethod
    def page(self, evidence: Evidence) -> str:
        """The experiment's part of report.html, as HTML."""

    def plots(self, evidence: Evidence) -> Sequence[Plot]:  # noqa: ARG002 - the default has nothing to draw
        """Pictures of the evidence, as values: report.html shows them, ``compare`` lays two runs' over each other."""
        return ()


def judged(experiment: Experiment, evidence: Evidence) -> Verdict:
    """The judge's verdict, as far as the circumstances of the run, which are evidence too, allow one.

    Nothing is known of a testbed that was not steady before, or of a run that was aborted; nothing *holds* that left
    the testbed broken, but what fails there has failed. A judge that throws knows nothing.
    """
    try:
        return _judged(experiment, evidence)
    except Exception as error:  # whatever evidence it chokes on
        return Verdict(None, f"the evidence cannot be judged: {type(error).__name__}: {error}")


def _judged(experiment: Experiment, evidence: Evidence) -> Verdict:
    steady = evidence.get("steady", {})
    if not steady.get("before", {"holds": True})["holds"]:
        return Verdict(None, f"not steady: {steady['before']['problems']}")
    if "aborted" in evidence:
        return Verdict(None, f"aborted: {evidence['aborted']}", _numbers_so_far(experiment, evidence))
    verdict = experiment.judge(evidence)
    after = steady.get("after", {"holds": True})
    if verdict.holds and not after["holds"]:
        because = f"the testbed did not become steady again: {after['problems']}; before that: {verdict.because}"
        verdict = replace(verdict, holds=None, because=because)
    return _qualified(verdict, evidence.get("machine", ())) if experiment.timing else verdict


def _numbers_so_far(experiment: Experiment, evidence: Evidence) -> Mapping[str, Any]:
    try:
        return experiment.judge(evidence).numbers
    except Exception:  # half the evidence need not make sense
        return {}


def _qualified(verdict: Verdict, seconds: Sequence[Mapping[str, float]]) -> Verdict:
    """The verdict, which says so when its times were taken on an overloaded machine."""
    slow = overloaded(seconds)
    numbers = {**verdict.numbers, "measured_s": len(seconds), "overloaded_s": slow}
    if slow <= TOLERATED * len(seconds):
        return replace(verdict, numbers=numbers)
    because = f"{verdict.because} (the machine was overloaded in {slow} of {len(seconds)} s: times are partly its own)"
    return replace(verdict, because=because, numbers=numbers)
