"""The measurement of ``firewall_mutants``: each mutant on the switches, both oracles asked, the right flows put back.

Oracle 2, the proof, is given the flows that were dumped. Oracle 4 asks the quick set of the real network; where it
notices nothing and the proof objects, it asks witnesses out of the proof's differences. Neither is told the mutation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from controllers.flow import Flow
from controllers.policy import Rule
from controllers.verify import explain
from controllers.verify.proof import Checked, Proof
from experiments.firewall_mutants.evidence import CAUGHT, EQUIVALENT, NEITHER, CalmRow, MutantRow, MutantsEvidence
from experiments.firewall_mutants.fixture import SwitchFixture, alike
from experiments.firewall_mutants.mutants import Mutant, fate_by_proof, mutants
from experiments.firewall_mutants.probes import QUIET_SECONDS, Probe, ProbeMismatch, Prober
from experiments.firewall_mutants.quick import quick_set
from experiments.firewall_mutants.witness import witnesses
from experiments.instruments.packetsockets import PacketSockets
from services.failover.manager import Failover
from testbed.faults.injection import injected
from testbed.faults.kind import Fault
from topo.errors import FoobarError
from topo.plan import MONITOR, Plan

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

CALM_EVERY = 50  # mutants between two looks whether probes go right when nothing is wrong
KERNEL_QUIET_SECONDS = 0.03  # the kernel's datapath asks the tables in other threads than it forwards in
LIST = "mutants.json"
SHOWN = 5


class AsksProbes(Protocol):
    """The part of a Prober that an examination needs."""

    def mismatches(self, probes: Sequence[Probe]) -> list[ProbeMismatch]: ...


@dataclass(frozen=True)
class OracleFinding:
    """The words of both oracles about one mutant: these fields of its MutantRow."""

    proof: str
    quick: int
    witness: int
    witnesses: int
    seen: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


NOTHING_SEEN = OracleFinding(NEITHER, 0, 0, 0, ())


class Examination:
    """Both oracles, with their words about the right flows."""

    def __init__(self, plan: Plan, rules: tuple[Rule, ...], quick: Sequence[Probe], right: Iterable[Flow]) -> None:
        self.plan = plan
        self.rules = rules
        self.quick = tuple(quick)
        self._proof = Proof(plan)
        self.right: Checked = self._proof.check(right, rules)

    def of(self, flows: Iterable[Flow], prober: AsksProbes) -> OracleFinding:
        """Both oracles' words while the switches hold these flows. Raises FoobarError when one gives no answer."""
        checked = self._proof.check(flows, self.rules)
        fate = fate_by_proof(checked, self.right)
        quick, witness = prober.mismatches(self.quick), list[ProbeMismatch]()
        asked: tuple[Probe, ...] = ()
        if not quick and fate.caught:
            asked = witnesses(self.plan, self.rules, checked.differences)
            witness = prober.mismatches(asked)
        said = CAUGHT if fate.caught else EQUIVALENT if fate.equivalent else NEITHER
        seen = tuple(str(mismatch) for mismatch in (*quick, *witness)[:SHOWN])
        return OracleFinding(said, len(quick), len(witness), len(asked), seen)


def measure(testbed: Testbed, run: Run) -> MutantsEvidence:
    """All mutants one after the other, and the quick set without one before, between and after them."""
    plan, rules, fixture = testbed.plan, testbed.rules, SwitchFixture(testbed)
    made = mutants(plan, rules, run.options["mutants"], run.random)
    before = fixture.dumped()
    examination = Examination(plan, rules, quick_set(plan, rules, run.random), before)
    wrong = explain.differences(plan, before, rules, examination.right)
    rows: list[MutantRow] = []
    calm: list[CalmRow] = []
    for name, value in (("mutants", rows), ("calm", calm), ("wrong_before", wrong)):
        run.keep(name, value)
    run.keep("probes", len(examination.quick))
    run.keep("wanted", run.options["mutants"])
    with ExitStack() as stack:
        stack.callback(fixture.forget_strange_connections)
        if testbed.profile.managed:  # or it would promote another database whenever a mutant hides the primary
            manager = Fault("freeze", plan.host_of(MONITOR).name, Failover.role)
            stack.enter_context(injected(testbed, manager, mark=run.mark))
        prober = _prober(testbed, stack)
        progress = stack.enter_context(run.phase("wrong rules and flows", len(made)))
        for number, mutant in enumerate(made):
            if number % CALM_EVERY == 0:
                calm.append(_calm(number, examination, prober))
            rows.append(_examined(number, mutant, fixture, examination, prober))
            progress.advance(1)
        calm.append(_calm(len(made), examination, prober))
    run.folder.write(LIST, json.dumps(rows, indent=1))
    return MutantsEvidence(
        wanted=run.options["mutants"],
        mutants=rows,
        calm=calm,
        wrong_before=wrong,
        probes=len(examination.quick),
        sent=prober.sent,
    )


def _prober(testbed: Testbed, stack: ExitStack) -> Prober:
    """On packet sockets of all hosts, which are open until the stack is left."""
    places = {host.name: (testbed.inside(host.name), host.interface) for host in testbed.plan.hosts}
    quiet = QUIET_SECONDS if testbed.datapath == "user" else KERNEL_QUIET_SECONDS
    return Prober(testbed.plan, stack.enter_context(PacketSockets(places)), quiet)


def _calm(number: int, examination: Examination, prober: Prober) -> CalmRow:
    """The quick set while nothing is wrong: the positive and negative control of every probe in it."""
    try:
        seen = [str(mismatch) for mismatch in prober.mismatches(examination.quick)]
    except FoobarError as error:
        seen = [str(error)]
    return {"before": number, "seen": seen, "lost": prober.sockets.lost()}


def _examined(
    number: int, mutant: Mutant, fixture: SwitchFixture, examination: Examination, prober: Prober
) -> MutantRow:
    """Was the mutant on the switches, what do the oracles say, is it gone?"""
    began, installed, refused, finding = time.monotonic(), False, "", NOTHING_SEEN
    try:
        with fixture.holding(mutant.flows):
            flows = fixture.dumped()
            installed = alike(flows) == alike(mutant.flows)
            finding = examination.of(flows, prober)
    except FoobarError as error:
        refused = str(error)
    return {
        "number": number,
        "kind": mutant.kind,
        "subject": mutant.subject,
        "what": mutant.what,
        "installed": installed,
        "refused": refused,
        "proof": finding.proof,
        "quick": finding.quick,
        "witness": finding.witness,
        "witnesses": finding.witnesses,
        "seen": finding.seen,
        "lost": prober.sockets.lost(),
        "restored": fixture.as_compiled(),
        "ms": round((time.monotonic() - began) * 1000, 1),
    }
