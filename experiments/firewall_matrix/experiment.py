"""``firewall_matrix``: who reaches whom? Four oracles are asked about every pair of hosts and every port, and compared.

The policy itself; a proof over the flows dumped from the switches; Open vSwitch's own trace; and packets, sent on one
host's link and looked for on the other's. What a firewall stops counts as stopped only where its own flow counted it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from controllers.policy import policy
from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict
from experiments.firewall_matrix import asked, classes, malformed, pairrows, samples
from experiments.firewall_matrix.checks import findings
from experiments.firewall_matrix.prober import Sweep, sweep

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SHOWN = 3


class FirewallMatrix(Experiment[Evidence]):
    """Ask everybody, compare."""

    name = "firewall_matrix"
    claim = "exactly what the policy allows gets through, for every pair of hosts"
    options = (
        Option("pairs", asked.ALL, "which pairs of hosts, zones or groups: FROM:TO,FROM:TO,..."),
        Option("ports", asked.ALL, "which TCP and UDP ports: 22,80,3000-3100"),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        plan = testbed.plan
        rules = policy(replace(plan, profile=replace(testbed.profile, firewall="on")))
        pairs = asked.pairs(run.options["pairs"], plan)
        values = asked.values(run.options["ports"])
        controls = pairrows.controls(plan, rules, pairs, values)
        before = testbed.adoption.dumped()
        began = time.monotonic()
        with samples.watched(testbed) as controller:
            swept = sweep(testbed, run, [*(Sweep(*pair, values) for pair in pairs), *controls])
        seconds = time.monotonic() - began
        run.keep("swept", [each.as_dict() for each in swept])
        with run.phase("proof and trace", len(pairs)) as progress:
            flows = testbed.adoption.dumped()

            def trace(row: dict[str, Any]) -> list[dict[str, Any]]:
                progress.advance(1)
                return classes.asked(plan, testbed.rules, run.random, row)

            told = pairrows.told(plan, rules, flows, swept[: len(pairs)], trace)
        return {
            "hosts": {host.name: host.ip for host in plan.hosts},
            **told,
            "odd": malformed.send(testbed, run, rules),
            "controls": [pairrows.control(plan, rules, each) for each in swept[len(pairs) :]],
            "controller": controller,
            "changed": set(flows) != set(before),
            "seconds": {"sweep": round(seconds, 3)},
        }

    def judge(self, evidence: Evidence) -> Verdict:
        found = findings(evidence)
        if found.wrong:
            # which flow it is by is told above the verdict
            return Verdict(False, _some([line.split("; by ")[0] for line in found.wrong]), found.numbers)
        if found.doubts:
            return Verdict(None, f"nothing is wrong as far as was seen, but {_some(found.doubts)}", found.numbers)
        because = (
            "{pairs} pairs, {probes} probes: {arrived} arrived, those that the policy allows; "
            "each of the others was counted where the policy stops it"
        )
        return Verdict(True, because.format(**found.numbers), found.numbers)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:  # noqa: ARG002 - shown below it anyway
        from experiments.firewall_matrix.show import shown

        return shown(evidence)

    def page(self, evidence: Evidence) -> str:
        from experiments.firewall_matrix.show import page

        return page(evidence)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        from experiments.firewall_matrix.show import plots

        return plots(evidence)


def _some(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
