"""``db_failover``: whatever happens to the primary database, no acknowledged write is lost, and writes come back.

Writers write all the time, one through the whole site and some straight at the write endpoint. The present primary is
hurt in every way that `experiments.db_failover.trouble` knows, again and again, and each time every write is accounted
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.db_failover import checks, dbplots, show
from experiments.db_failover.trouble import Trouble, left_out, possible
from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict
from topo.errors import DeadlineError, UsageError, among

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

ALL = "all"


class DbFailover(Experiment[Evidence]):
    """Rounds of trouble under writes; then the whole table once more."""

    name = "db_failover"
    claim = "no acknowledged write is lost, and writes come back"
    timing = True
    repeats = True
    options = (
        Option("faults", ALL, "which kinds, separated by commas"),
        Option("window", 5.0, "seconds within which writes must come back", least=0.5, most=60),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        from experiments.db_failover.rounds import Rounds
        from experiments.db_failover.writers import writing

        design = testbed.profile.db
        kinds, window = chosen(str(run.options["faults"]), design), float(run.options["window"])
        course = [run.random.sample(kinds, len(kinds)) for _ in range(-(-(run.repeat or len(kinds)) // len(kinds)))]
        troubles = [trouble for block in course for trouble in block][: run.repeat or len(kinds)]
        rounds: list[dict[str, Any]] = []
        evidence: dict[str, Any] = {
            "db": design,
            "window": window,
            "wanted": len(troubles),
            "left_out": left_out(design),
            "rounds": rounds,
            "stopped": None,
            "final": None,
        }
        for name, value in evidence.items():
            run.keep(name, value)
        with writing(testbed, f"w{run.random.randrange(16**6):06x}") as writers:
            holding = Rounds(testbed, writers, run.random, run.mark, window)
            with run.phase("faults", len(troubles)) as progress:
                for number, trouble in enumerate(troubles, start=1):
                    try:
                        rounds.append(holding.hold(number, trouble))
                    except DeadlineError as error:
                        evidence["stopped"] = f"round {number} ({trouble.name}): {error}"
                        break
                    progress.advance(1)
            evidence["final"] = holding.everything()
        return evidence

    def judge(self, evidence: Evidence) -> Verdict:
        return checks.verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        return show.table(evidence, verdict)

    def page(self, evidence: Evidence) -> str:
        return show.html(evidence)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        return dbplots.plots(evidence)


def chosen(text: str, design: str) -> tuple[Trouble, ...]:
    """The kinds that a flag asks for. Raises UsageError, naming the possible ones."""
    kinds = {each.name: each for each in possible(design)}
    if text == ALL:
        return tuple(kinds.values())
    for name in text.split(","):
        if name not in kinds:
            reason = left_out(design).get(name, "unknown")
            raise UsageError(f"--faults {name}: {reason}; possible: {among(name, kinds)}")
    return tuple(kinds[name] for name in text.split(","))
