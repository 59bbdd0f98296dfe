"""``waf``: attacks of every class on every input, and honest texts by the thousand, judged by the firewall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.engine.base import Experiment
from experiments.engine.run import Option
from experiments.engine.verdict import Verdict
from experiments.waf.evidence import WafEvidence

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SPOILT = ("nothing", "asleep", "strict", "silent")


class Waf(Experiment[WafEvidence]):
    """Each attack is sent with the firewall and without it; a sample of the honest texts is sent, all are judged."""

    name = "waf"
    claim = "attacks are refused and honest people are not"
    options = (
        Option("texts", 10_000, "messages of honest people; of other inputs a fifth", least=50, most=10_000_000),
        Option("share", 1.0, "share of the attacks that are sent", least=0.01, most=1),
        Option("spoil", "nothing", "how the firewall is made wrong first, to see that found out", values=SPOILT),
    )
    evidence = WafEvidence

    def measure(self, testbed: Testbed, run: Run) -> WafEvidence:
        from experiments.waf.measure import measure

        return measure(testbed, run)

    def judge(self, evidence: WafEvidence) -> Verdict:
        from experiments.waf.checks import judge

        return judge(evidence)

    def show(self, evidence: WafEvidence, verdict: Verdict) -> RenderableType:
        from experiments.waf.show import show

        return show(evidence, verdict)

    def page(self, evidence: WafEvidence) -> str:
        from experiments.waf.show import page

        return page(evidence)

    def plots(self, evidence: WafEvidence) -> Sequence[Plot]:
        from experiments.waf.show import plots

        return plots(evidence)
