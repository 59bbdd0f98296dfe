"""An experiment: a claim, a measurement that gives evidence, and a judgement of that evidence alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from experiments.engine.evidence import DisturbanceRow, Evidence, MachineSecond, SchemaError, circumstances
from experiments.engine.provenance import TOLERATED, overloaded
from experiments.engine.run import Option, Run
from experiments.engine.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from testbed.testbed import Testbed

E = TypeVar("E", bound=Evidence)
#: disturbances that a verdict names
MOST_SAID = 3


class Experiment(ABC, Generic[E]):
    """One claim, always the *good* property, so that a weak design fails it."""

    #: what it is called on the command line
    name: str
    #: one sentence
    claim: str
    #: its numbers are times, which a busy machine spoils: the verdict says so when it was one
    timing: bool = False
    #: it measures in rounds, so ``--repeat N`` means something
    repeats: bool = False
    #: hosts that are blocked belong to what it measures; for any other experiment they are a disturbance
    blocks: bool = False
    #: flags of its own; their values are in ``run.options``
    options: tuple[Option, ...] = ()
    #: the class of its evidence, from its ``evidence.py``
    evidence: type[E]

    @abstractmethod
    def measure(self, testbed: Testbed, run: Run) -> E:
        """Do it on a steady testbed. Returns the evidence; files it makes go into ``run.folder``."""

    @abstractmethod
    def judge(self, evidence: E) -> Verdict:
        """Pure: the same evidence gives the same verdict, today and years later, without root or a network."""

    @abstractmethod
    def show(self, evidence: E, verdict: Verdict) -> RenderableType:
        """The text that is printed at the end of a run, above the verdict."""

    @abstractmethod
    def page(self, evidence: E) -> str:
        """The experiment's part of report.html, as HTML."""

    def plots(self, evidence: E) -> Sequence[Plot]:  # noqa: ARG002 - the default has nothing to draw
        """Plots of the evidence, as values: report.html shows them, ``compare`` lays two runs' over each other."""
        return ()


def judged(experiment: Experiment[Any], raw: Any) -> Verdict:
    """The judge's verdict on what evidence.json says, as far as the circumstances of the run, too, allow one.

    Nothing is known of a testbed that was not steady before, nor of a run that was aborted, or disturbed by hand;
    nothing *holds* that left the testbed broken, but what fails there has failed. A judge that throws knows nothing.
    Raises SchemaError for evidence of another version.
    """
    try:
        return _judged(experiment, raw)
    except SchemaError:
        raise
    except Exception as error:  # whatever evidence it chokes on
        return Verdict(None, f"the evidence cannot be judged: {type(error).__name__}: {error}")


def _judged(experiment: Experiment[Any], raw: Any) -> Verdict:
    around = circumstances(raw)
    before, after = (around.steady.get(when) for when in ("before", "after"))
    if before and not before["holds"]:
        return Verdict(None, f"not steady: {before['problems']}")
    if around.aborted is not None:
        return _undisturbed(
            Verdict(None, f"aborted: {around.aborted}", _numbers_so_far(experiment, raw)), around.disturbances
        )
    verdict = _undisturbed(experiment.judge(experiment.evidence.parse(raw)), around.disturbances)
    if verdict.holds and after and not after["holds"]:
        because = f"the testbed did not become steady again: {after['problems']}; before that: {verdict.because}"
        verdict = replace(verdict, holds=None, because=because)
    return _qualified(verdict, around.machine) if experiment.timing else verdict


def _undisturbed(verdict: Verdict, disturbances: Sequence[DisturbanceRow]) -> Verdict:
    """The verdict, if the experiment alone changed the testbed: else neither what holds nor what fails is known."""
    if not disturbances:
        return verdict
    words = "; ".join(f"{disturbance['what']} ({disturbance['who']})" for disturbance in disturbances[:MOST_SAID])
    more = f" and {len(disturbances) - MOST_SAID} more" if len(disturbances) > MOST_SAID else ""
    because = f"disturbed while it was measured: {words}{more}; what was seen: {verdict.because}"
    return Verdict(None, because, {**verdict.numbers, "disturbances": len(disturbances)})


def _numbers_so_far(experiment: Experiment[Any], raw: Any) -> Mapping[str, Any]:
    try:
        return experiment.judge(experiment.evidence.parse(raw)).numbers
    except SchemaError:
        raise
    except Exception:  # half the evidence need not make sense
        return {}


def _qualified(verdict: Verdict, seconds: Sequence[MachineSecond]) -> Verdict:
    """The verdict, which says so when its times were taken on an overloaded machine."""
    slow = overloaded(seconds)
    numbers = {**verdict.numbers, "measured_s": len(seconds), "overloaded_s": slow}
    if slow <= TOLERATED * len(seconds):
        return replace(verdict, numbers=numbers)
    because = f"{verdict.because} (the machine was overloaded in {slow} of {len(seconds)} s: times are partly its own)"
    return replace(verdict, because=because, numbers=numbers)
