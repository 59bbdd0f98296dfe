"""``db_failover``: whatever happens to the primary database, no acknowledged write is lost, and writes come back.

Writers write all the time, one through the whole site and some straight at the write endpoint. Fault scenarios hit the
present primary (`testbed.faults.scenarios.DATABASE`), one after the other, and each time every write is accounted for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.db_failover.evidence import DbFailoverEvidence
from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class DbFailover(Experiment[DbFailoverEvidence]):
    """Rounds of faults under writes; then the whole table once more."""

    name = "db_failover"
    claim = "no acknowledged write is lost, and writes come back"
    timing = True
    repeats = True
    options = (
        Option("faults", "all", "which fault scenarios, separated by commas"),
        Option("window", 5.0, "seconds within which writes must come back", least=0.5, most=60),
    )
    evidence = DbFailoverEvidence

    def measure(self, testbed: Testbed, run: Run) -> DbFailoverEvidence:
        from experiments.db_failover.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: DbFailoverEvidence) -> Verdict:
        from experiments.db_failover.checks import judge

        return judge(evidence)

    def show(self, evidence: DbFailoverEvidence, verdict: Verdict) -> RenderableType:
        from experiments.db_failover.show import show

        return show(evidence, verdict)

    def page(self, evidence: DbFailoverEvidence) -> str:
        from experiments.db_failover.show import page

        return page(evidence)

    def plots(self, evidence: DbFailoverEvidence) -> Sequence[Plot]:
        from experiments.db_failover.show import plots

        return plots(evidence)
