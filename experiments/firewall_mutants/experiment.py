"""``firewall_mutants``: hundreds of wrong rules and flows on the real switches, one after the other. Is each noticed?

Each slip is put on the switches, dumped from them and proved, probed with real packets, and undone. A proof that
misses a wrong flow, or probes that do, would say little about the right ones.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from controllers.verify import explain
from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.verdict import Verdict
from experiments.firewall_mutants.checks import kinds, verdict, worst_first
from experiments.firewall_mutants.examination import NEITHER, Examination, Finding
from experiments.firewall_mutants.fixture import Bench, alike
from experiments.firewall_mutants.mutants import Mutant, mutants
from experiments.firewall_mutants.probes import QUIET_SECONDS, Prober
from experiments.firewall_mutants.quick import quick_set
from experiments.instruments.packetsockets import Wires
from services.failover.manager import Failover
from testbed.faults.injection import injected
from testbed.faults.kind import Fault
from topo.errors import FoobarError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.testbed import Testbed

CALM_EVERY = 50  # mutants between two looks whether probes go right when nothing is wrong
KERNEL_QUIET_SECONDS = 0.03  # the kernel's datapath asks the tables in other threads than it forwards in
LIST = "mutants.json"
NOTHING_SEEN = Finding(NEITHER, 0, 0, 0, ())


class FirewallMutants(Experiment[Evidence]):
    """Put each mutant on the switches, ask both oracles, undo it; then count who survived."""

    name = "firewall_mutants"
    claim = "every wrong rule or flow is caught"
    options = (Option("mutants", 200, "how many wrong rules and flows", least=1, most=5000),)

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        plan, rules, bench = testbed.plan, testbed.rules, Bench(testbed)
        made = mutants(plan, rules, run.options["mutants"], run.random)
        before = bench.dumped()
        examination = Examination(plan, rules, quick_set(plan, rules, run.random), before)
        wrong = explain.differences(plan, before, rules, examination.right)
        rows: list[dict[str, Any]] = []
        calm: list[dict[str, Any]] = []
        for name, value in (("mutants", rows), ("calm", calm), ("wrong_before", wrong)):
            run.keep(name, value)
        run.keep("probes", len(examination.quick))
        run.keep("wanted", run.options["mutants"])
        places = {host.name: (testbed.inside(host.name), host.interface) for host in plan.hosts}
        with ExitStack() as stack:
            stack.callback(bench.forget_strange_connections)
            if testbed.profile.managed:  # or it would promote another database whenever a slip hides the primary
                stack.enter_context(injected(testbed, Fault("freeze", "mon", Failover.role), mark=run.mark))
            wires = stack.enter_context(Wires(places))
            prober = Prober(plan, wires, QUIET_SECONDS if testbed.datapath == "user" else KERNEL_QUIET_SECONDS)
            progress = stack.enter_context(run.phase("wrong rules and flows", len(made)))
            for number, mutant in enumerate(made):
                if number % CALM_EVERY == 0:
                    calm.append(_calm(number, examination, prober))
                rows.append({"number": number, **_examined(mutant, bench, examination, prober)})
                progress.advance(1)
            calm.append(_calm(len(made), examination, prober))
        (run.folder / LIST).write_text(json.dumps(rows, indent=1))
        return {
            "wanted": run.options["mutants"],
            "mutants": rows,
            "calm": calm,
            "wrong_before": wrong,
            "probes": len(examination.quick),
            "sent": prober.sent,
        }

    def judge(self, evidence: Evidence) -> Verdict:
        return verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:  # noqa: ARG002 - the verdict is below
        lines = [
            f"{kind:8} {subject:5} {', '.join(f'{count} {fate}' for fate, count in fates.items())}"
            for kind, subject, fates in kinds(evidence["mutants"])
        ]
        return "\n".join(lines)

    def page(self, evidence: Evidence) -> str:
        from experiments.engine.report import TEMPLATES
        from experiments.firewall_mutants import checks

        rows = evidence.get("mutants", [])
        return TEMPLATES.get_template("firewall_mutants.html.j2").render(
            rows=worst_first(rows), kinds=kinds(rows), survivors=checks
        )


def _calm(number: int, examination: Examination, prober: Prober) -> dict[str, Any]:
    """The quick set while nothing is wrong: the positive and negative control of every probe in it."""
    try:
        seen = [str(mismatch) for mismatch in prober.mismatches(examination.quick)]
    except FoobarError as error:
        seen = [str(error)]
    return {"before": number, "seen": seen, "lost": prober.wires.lost()}


def _examined(mutant: Mutant, bench: Bench, examination: Examination, prober: Prober) -> dict[str, Any]:
    """A row of the evidence: the mutant, was it on the switches, what did the oracles say, is it gone?"""
    began, installed, refused, found = time.monotonic(), False, "", NOTHING_SEEN
    try:
        with bench.holding(mutant.flows):
            flows = bench.dumped()
            installed = alike(flows) == alike(mutant.flows)
            found = examination.of(flows, prober)
    except FoobarError as error:
        refused = str(error)
    return {
        "kind": mutant.kind,
        "subject": mutant.subject,
        "what": mutant.what,
        "installed": installed,
        "refused": refused,
        **found.as_dict(),
        "lost": prober.wires.lost(),
        "restored": bench.as_compiled(),
        "ms": round((time.monotonic() - began) * 1000, 1),
    }
