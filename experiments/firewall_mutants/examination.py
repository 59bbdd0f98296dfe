"""One mutant examined by two oracles, neither of which is told what the slip was.

Oracle 2, the proof, is given the flows that were dumped. Oracle 4 asks the quick set of the real network; where it
notices nothing and the proof objects, it asks witnesses of what the proof objects to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from controllers.flow import Flow
from controllers.policy import Rule
from controllers.verify.proof import Checked, Proof
from experiments.firewall_mutants.mutants import judged
from experiments.firewall_mutants.probes import Mismatch, Probe
from experiments.firewall_mutants.witness import witnesses
from topo.plan import Plan

CAUGHT, EQUIVALENT, NEITHER = "caught", "equivalent", "neither"
SHOWN = 5


class Asks(Protocol):
    """What of a Prober is needed here."""

    def mismatches(self, probes: Sequence[Probe]) -> list[Mismatch]: ...


@dataclass(frozen=True)
class Finding:
    """``proof``: caught, equivalent (exactly the same packets arrive), or neither of them.

    ``quick`` and ``witness``: how many probes of each set ended where the policy does not want them; ``witnesses``: how
    many were sent; ``seen``: some of those mismatches in words.
    """

    proof: str
    quick: int
    witness: int
    witnesses: int
    seen: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Examination:
    """Both oracles, with what they make of the right flows."""

    def __init__(self, plan: Plan, rules: tuple[Rule, ...], quick: Sequence[Probe], right: Iterable[Flow]) -> None:
        self.plan = plan
        self.rules = rules
        self.quick = tuple(quick)
        self._proof = Proof(plan)
        self.right: Checked = self._proof.check(right, rules)

    def of(self, flows: Iterable[Flow], prober: Asks) -> Finding:
        """What both say while the switches hold these flows. Raises RefusedError for a flow that cannot be proved."""
        checked = self._proof.check(flows, self.rules)
        fate = judged(checked, self.right)
        quick, witness = prober.mismatches(self.quick), list[Mismatch]()
        asked: tuple[Probe, ...] = ()
        if not quick and fate.caught:
            asked = witnesses(self.plan, self.rules, checked.differences)
            witness = prober.mismatches(asked)
        said = CAUGHT if fate.caught else EQUIVALENT if fate.equivalent else NEITHER
        seen = tuple(str(each) for each in (*quick, *witness)[:SHOWN])
        return Finding(said, len(quick), len(witness), len(asked), seen)
