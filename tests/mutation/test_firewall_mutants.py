"""The examination of mutants: both oracles on Python switches, the probes' frames, and the judge."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from typing import Any

import pytest
from pysockets import PyPacketSockets
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.l2 import Ether

from controllers.compile import compile_flows
from controllers.flow import Flow
from controllers.policy import policy
from experiments.engine.base import judged
from experiments.firewall_mutants import probes as probing
from experiments.firewall_mutants.checks import fate
from experiments.firewall_mutants.evidence import MutantsEvidence
from experiments.firewall_mutants.experiment import FirewallMutants
from experiments.firewall_mutants.fixture import difference
from experiments.firewall_mutants.measure import Examination
from experiments.firewall_mutants.mutants import Mutant, mutants
from experiments.firewall_mutants.probes import Probe, ProbeMismatch, Prober
from experiments.firewall_mutants.quick import quick_set
from experiments.firewall_mutants.show import worst_first
from topo.errors import DeadlineError
from topo.plan import plan as plan_of
from topo.profile import Profile

PLAN = plan_of(Profile())
RULES = policy(plan_of(Profile()))
FLOWS = compile_flows(PLAN, RULES)


@cache
def quick() -> list[Probe]:
    return quick_set(PLAN, RULES, Random(1))


@cache
def made() -> list[Mutant]:
    return mutants(PLAN, RULES, 18, Random(5))


@pytest.fixture(scope="module")
def examination() -> Examination:
    return Examination(PLAN, RULES, quick(), FLOWS)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "LATE_SECONDS", 0)


def prober(flows: Sequence[Flow], *deaf: str) -> Prober:
    return Prober(PLAN, PyPacketSockets(PLAN, flows, deaf=deaf), quiet=0)  # type: ignore[arg-type]


class UnseeingOracle:
    """An oracle 4 that never sees anything wrong."""

    def mismatches(self, probes: Sequence[Probe]) -> list[ProbeMismatch]:
        return []


def row(mutant: Mutant, found: dict[str, Any]) -> dict[str, Any]:
    said = {"number": 1, "kind": mutant.kind, "subject": mutant.subject, "what": mutant.what, "ms": 400.0}
    return {**said, "installed": True, "restored": True, "refused": "", "lost": {}, **found}


# --- the oracles on Python switches --------------------------------------------------------------------------------


def test_the_right_flows_let_every_probe_end_where_the_policy_wants_it() -> None:
    assert prober(FLOWS).mismatches(quick()) == []
    assert len({probe.what for probe in quick()}) == len(quick()) > 3000
    assert sum(probe.wanted is not None for probe in quick()) > 200


def test_every_sign_is_unlike_any_other() -> None:
    assert len({probe.sign(probing.FIRST_NUMBER) for probe in quick()}) == len(quick())


def test_every_mutant_is_caught_by_both_or_equivalent(examination: Examination) -> None:
    fates = {fate(row(each, examination.of(each.flows, prober(each.flows)).as_dict())) for each in made()[::3]}
    assert fates <= {"caught by both", "caught by both, by a witness", "equivalent"}
    assert "caught by both" in fates, "by the quick set, with no witness asked for"


def test_witnesses_catch_what_the_quick_set_is_not_asked(
    examination: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of the proof's counterexamples, with no quick set at all."""
    monkeypatch.setattr(examination, "quick", ())
    found = {each.what: examination.of(each.flows, prober(each.flows)).as_dict() for each in made()[1::2]}
    fates = {each.what: fate(row(each, found[each.what])) for each in made()[1::2]}
    assert set(fates.values()) == {"caught by both, by a witness", "equivalent"}, fates


def test_mutants_survive_an_oracle_that_sees_nothing(examination: Examination) -> None:
    """The negative control of the whole experiment."""
    rows = [row(each, examination.of(each.flows, UnseeingOracle()).as_dict()) for each in made()]
    found = judged(FirewallMutants(), evidence(rows))
    assert found.holds is False
    assert found.because.startswith("survives the probes: ")
    assert found.numbers["surviving"] > 5


def test_a_deaf_host_is_seen_when_all_is_calm() -> None:
    assert prober(FLOWS, "lb").mismatches(quick())


def test_a_probe_that_is_lost_once_is_no_mismatch() -> None:
    """Asked again, with what must be sent before it, it arrives."""
    sockets = PyPacketSockets(PLAN, FLOWS, deaf=("lb",))
    asked = Prober(PLAN, sockets, quiet=0)  # type: ignore[arg-type]
    first = asked._wrong(quick())
    sockets.deaf.clear()
    again = probing._with_what_they_need(quick(), first)
    assert first
    assert asked._wrong(again) == {}
    assert len(again) < len(quick()) / 10


# --- links that are never silent -----------------------------------------------------------------------------------


class NoisySockets(PyPacketSockets):
    """Links with traffic of others at every look: health checks every 40 ms on eight hosts leave no quiet moment."""

    MOST = 2000

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.looks = 0

    def arrivals(self, seconds: float) -> Iterator[tuple[str, bytes]]:
        self.looks += 1
        assert self.looks < self.MOST, "waiting never ends"
        yield from super().arrivals(seconds)
        time.sleep(0.0005)
        yield "lb", bytes(60)


def test_probing_ends_though_the_links_are_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a sender's canary arrives nowhere, as under a mutant that stops its ARP."""
    monkeypatch.setattr(probing, "LATE_SECONDS", 0.005)
    mute = tuple(flow for flow in FLOWS if ("arp_spa", "10.0.1.66") not in flow.match)
    assert len(mute) < len(FLOWS)
    asked = Prober(PLAN, NoisySockets(PLAN, mute), quiet=0.001)  # type: ignore[arg-type]
    assert asked.mismatches(quick())


def test_probes_that_keep_arriving_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = NoisySockets(PLAN, FLOWS)
    asked = Prober(PLAN, sockets, quiet=0.001)  # type: ignore[arg-type]
    frame = quick()[0].frame.numbered(probing.FIRST_NUMBER + probing.STEP)
    monkeypatch.setattr(NoisySockets, "arrivals", lambda self, seconds: iter([("lb", frame)]))
    monkeypatch.setattr(probing, "MOST_SECONDS", 0.05)
    monkeypatch.setattr(probing, "LATE_SECONDS", 1)
    with pytest.raises(DeadlineError, match="still arrive"):
        asked.mismatches(quick()[:1])


# --- frames --------------------------------------------------------------------------------------------------------


def test_a_numbered_frame_has_right_checksums() -> None:
    for probe in Random(2).sample(quick(), 120):
        frame = Ether(probe.frame.numbered(25004))
        layer = next((each for each in (ICMP, TCP, UDP) if each in frame), None)
        if layer is None:
            continue
        told = frame[layer].chksum
        del frame[layer].chksum
        assert Ether(bytes(frame))[layer].chksum == told, probe.what


def test_only_what_differs_is_exchanged() -> None:
    changed = difference(FLOWS, FLOWS[1:])
    assert changed == {FLOWS[0].switch: ([FLOWS[0]], [])}


# --- the judge -----------------------------------------------------------------------------------------------------

CALM = {"before": 0, "seen": [], "lost": {}}
GOOD = {"proof": "caught", "quick": 3, "witness": 0, "witnesses": 0, "seen": ["client -> lb tcp/80: does not arrive"]}
SAME = {"proof": "equivalent", "quick": 0, "witness": 0, "witnesses": 0, "seen": []}


def evidence(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "wanted": len(rows),
        "mutants": list(rows),
        "calm": [CALM, CALM],
        "wrong_before": [],
        "probes": 3600,
        "sent": 10_000,
    }


@pytest.fixture
def good() -> dict[str, Any]:
    found = (GOOD, {**GOOD, "quick": 0, "witness": 1, "witnesses": 4}, SAME)
    return copy.deepcopy(evidence([row(mutant, told) for mutant, told in zip(made(), found, strict=False)]))


def test_it_holds_when_all_are_caught_or_equivalent(good: dict[str, Any]) -> None:
    found = judged(FirewallMutants(), good)
    assert found.holds is True
    numbers = found.numbers
    assert (numbers["caught"], numbers["by_quick_set"], numbers["by_witness_only"]) == (2, 1, 1)
    assert (numbers["equivalent"], numbers["surviving"]) == (1, 0)


@pytest.mark.parametrize(
    ("at", "change", "because"),
    [
        (0, {"quick": 0}, "survives the probes"),
        (0, {"proof": "neither"}, "survives the proof"),
        (2, {"proof": "neither"}, "survives both"),
        (2, {"quick": 1}, "equivalent, and yet packets go astray"),
    ],
)
def test_it_fails_when_one_survives(good: dict[str, Any], at: int, change: dict[str, Any], because: str) -> None:
    good["mutants"][at] |= change
    found = judged(FirewallMutants(), good)
    assert found.holds is False
    assert found.because == f"{because}: {made()[at].what}"
    assert worst_first(good["mutants"])[0] == good["mutants"][at]


@pytest.mark.parametrize(
    ("path", "value", "because"),
    [
        (("mutants",), [], "there was nothing wrong to be caught"),
        (("wanted",), 4, "only 3 of 4 wrong rules and flows were examined"),
        (("calm",), [CALM], "it was not looked whether probes go right"),
        (("calm", 1, "seen"), ["client -> lb tcp/80: does not arrive"], "probes go astray though no flow is wrong"),
        (("calm", 0, "lost"), {"lb": 3}, "probes go astray though no flow is wrong"),
        (("wrong_before",), ["a hole"], "the flows were wrong before anything was changed: a hole"),
        (("mutants", 0, "installed"), False, "1 of 3 mutants could not be examined"),
        (("mutants", 0, "restored"), False, "1 of 3 mutants could not be examined"),
        (("mutants", 0, "refused"), "probes still arrive", "1 of 3 mutants could not be examined"),
        (("mutants", 1, "lost"), {"lb": 3}, "1 of 3 mutants could not be examined: frames were lost at lb"),
    ],
)
def test_it_is_unknown_when_an_oracle_was_inconclusive(
    good: dict[str, Any], path: tuple[Any, ...], value: Any, because: str
) -> None:
    *way, last = path
    inner: Any = good
    for each in way:
        inner = inner[each]
    inner[last] = value
    found = judged(FirewallMutants(), good)
    assert found.holds is None
    assert found.because.startswith(because)


def test_a_surviving_mutant_fails_the_claim_though_others_are_not_known(good: dict[str, Any]) -> None:
    good["mutants"][0]["quick"] = 0
    good["mutants"][1]["lost"] = {"lb": 3}
    good["wanted"] = 4
    verdict = judged(FirewallMutants(), good)
    assert verdict.holds is False
    assert verdict.because.startswith("survives the probes")


def test_what_is_shown(good: dict[str, Any]) -> None:
    experiment = FirewallMutants()
    measured = MutantsEvidence.parse(good)
    assert "caught by both" in str(experiment.show(measured, judged(experiment, good)))
    assert made()[0].what.split(" ")[0] in experiment.page(measured)
    assert experiment.page(MutantsEvidence()).startswith("<h2>")
