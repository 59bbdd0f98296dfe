"""``db_failover``: whatever happens to the primary database, no acknowledged write is lost, and writes come back.

Writers write all the time, one through the whole site and some straight at the write endpoint. Fault scenarios hit the
present primary (`testbed.faults.scenarios.DATABASE`), one after the other, and each time every write is accounted for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.db_failover import checks, show
from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class DbFailover(Experiment[Evidence]):
    """Rounds of faults under writes; then the whole table once more."""

    name = "db_failover"
    claim = "no acknowledged write is lost, and writes come back"
    timing = True
    repeats = True
    options = (
        Option("faults", "all", "which kinds, separated by commas"),
        Option("window", 5.0, "seconds within which writes must come back", least=0.5, most=60),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        from experiments.db_failover import measure

        return measure.measure(testbed, run)

    def judge(self, evidence: Evidence) -> Verdict:
        return checks.verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        return show.table(evidence, verdict)

    def page(self, evidence: Evidence) -> str:
        return show.html(evidence)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        return show.plots(evidence)
