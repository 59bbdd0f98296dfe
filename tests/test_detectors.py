"""Detectors: an attack is found at the step that is promised, and of honest contacts no more than the bound."""

from __future__ import annotations

import math
import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.detection import detectors, sequential
from services.detection.detection import KINDS, Contact
from services.detection.detectors import BRUTE_FORCE, PROBING, REFUSED, SCAN, SLOW, SPOOFING, SPRAYING, Detectors
from services.detection.sequential import SequentialDetector, SequentialTest

TESTS = {"scan": SCAN, "spoofing": SPOOFING, "brute-force": BRUTE_FORCE, "spraying": SPRAYING, "probing": PROBING}
TESTS |= {"refused": REFUSED, "slow": SLOW}
STEPS = {"scan": 4, "spoofing": 4, "brute-force": 4, "spraying": 5, "probing": 8, "refused": 4, "slow": 4}


def found(detector: SequentialDetector, contacts: list[tuple[str, bool]], source: str = "attacker") -> list[int]:
    """The places of the contacts at which a verdict falls."""
    made = [Contact(float(at), source, what, refused) for at, (what, refused) in enumerate(contacts)]
    return [at for at, contact in enumerate(made) for _ in detector.take(contact)]


def alarms(test: SequentialTest, contacts: int, refused: float) -> float:
    """The probability that the odds reach the verdict within so many independent contacts: computed, not drawn."""
    odds, reached, verdict = {0.0: 1.0}, 0.0, math.log(test.verdict_at)
    factors = [(math.log(test.factor(True)), refused), (math.log(test.factor(False)), 1 - refused)]
    for _ in range(contacts):
        after: defaultdict[float, float] = defaultdict(float)
        for value, likely in odds.items():
            for factor, probability in factors:
                after[round(max(0.0, value + factor), 2)] += likely * probability
        reached += sum(likely for value, likely in after.items() if value >= verdict)
        odds = {value: likely for value, likely in after.items() if value < verdict and likely > 1e-12}
    return reached


@pytest.mark.parametrize("name", TESTS)
def test_the_verdict_falls_at_the_promised_refusal(name: str) -> None:
    assert TESTS[name].refusals == STEPS[name]
    detector = SequentialDetector("scan", TESTS[name])
    assert found(detector, [(str(at), True) for at in range(20)])[0] == STEPS[name] - 1


@pytest.mark.parametrize("name", TESTS)
def test_honest_hosts_cause_no_more_false_alarms_than_the_bound(name: str) -> None:
    test, contacts = TESTS[name], 100
    assert alarms(test, contacts, test.honest) <= contacts * test.alpha
    # whoever is refused much more often than that is no honest host: the sum sees it
    assert alarms(test, contacts, test.attack) > 0.999
    assert alarms(test, contacts, 5 * test.honest) > contacts * test.alpha


def test_the_detector_itself_keeps_the_bound() -> None:
    """A weak test, so that false alarms are seen at all; the same with twice the honest refusals breaks it."""
    test, draw, contacts = SequentialTest(0.05, 0.8, 1e-3), random.Random(12), 20_000

    def share(refused: float) -> float:
        detector = SequentialDetector("scan", test)
        return len(found(detector, [(str(at), draw.random() < refused) for at in range(contacts)])) / contacts

    assert 0 < share(test.honest) <= test.alpha
    assert share(4 * test.honest) > test.alpha


@given(st.lists(st.integers(0, 2)), st.lists(st.booleans(), max_size=2))
def test_three_targets_are_no_scan_however_often_and_a_fourth_is(targets: list[int], visits: list[bool]) -> None:
    detector = SequentialDetector("scan", SCAN)
    honest = [(f"site {at}", False) for at in range(len(visits))]
    assert found(detector, [*((str(target), True) for target in targets), *honest]) == []
    contacts = [(str(target), True) for target in (0, 1, 2)]
    assert found(detector, [*contacts, ("3", True)]) == [3]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.randoms())
def test_sources_are_judged_by_themselves(contacts: list[tuple[int, bool]], draw: random.Random) -> None:
    alone, shared = SequentialDetector("scan", SCAN), SequentialDetector("scan", SCAN)
    mixed = [(source, *contact) for source in ("client", "attacker") for contact in contacts]
    draw.shuffle(mixed)
    for source, target, refused in mixed:
        told = list(shared.take(Contact(0.0, source, str(target), refused)))
        assert all(detection.source == source for detection in told)
        if source == "client":
            assert len(list(alone.take(Contact(0.0, source, str(target), refused)))) == len(told)


def test_what_was_refused_and_then_succeeds_was_no_refusal() -> None:
    forgetful = [(f"user {at}", refused) for at in range(100) for refused in (True, True, False)]
    assert found(SequentialDetector("spraying", SPRAYING), forgetful) == []
    assert found(SequentialDetector("spraying", SPRAYING), [(f"user {at}", True) for at in range(5)]) == [4]


def test_a_user_who_forgets_a_password_again_and_again_is_no_guesser() -> None:
    detector = SequentialDetector("brute-force", BRUTE_FORCE)
    assert found(detector, [(str(at), at % 3 < 2) for at in range(3000)]) == []


def test_a_guesser_who_logs_in_himself_in_between_is_one() -> None:
    """An account is judged by itself: his own clears nothing."""
    detector = Detectors().brute_force
    told = []
    for at in range(8):
        for account, refused in (("victim", True), ("own", False)):
            told += detector.take(Contact(float(at), "attacker", f"{account} {at}", refused, within=account))
    assert [detection.time for detection in told] == [3.0, 7.0]


def test_a_verdict_says_what_was_seen_and_since_when_and_the_next_begins_anew() -> None:
    detector = Detectors().scan
    contacts = [Contact(float(at), "attacker", f"tcp/{at % 8} of srv1", True) for at in range(8)]
    first, second = [detection for contact in contacts for detection in detector.take(contact)]
    assert (first.kind, first.source, first.since, first.time) == ("scan", "attacker", 0.0, 3.0)
    assert first.evidence == ("tcp/0 of srv1", "tcp/1 of srv1", "tcp/2 of srv1", "tcp/3 of srv1")
    assert first.odds == pytest.approx(80**4)
    assert (second.since, second.time) == (4.0, 7.0)
    assert first.text == f"scan: {', '.join(first.evidence)} (odds 4e+07 to 1)"


@pytest.mark.parametrize("spread", ["source", "within", "what"])
def test_memory_is_bounded_whatever_is_sent(spread: str) -> None:
    detector = SequentialDetector("scan", SequentialTest(0.5, 0.500001, 1e-6))
    for at in range(2000):
        contact = {"source": "a", "what": "b", "within": "c", spread: f"{at} {'x' * 50}"}
        assert list(detector.take(Contact(0.0, refused=True, **contact))) == []  # type: ignore[arg-type]
    assert len(detector._sources) <= sequential.SOURCES
    for apart in detector._sources.values():
        assert len(apart) <= sequential.WITHIN
        assert all(len(suspicion.known) <= sequential.KNOWN for suspicion in apart.values())
        assert all(len(suspicion.evidence) <= sequential.SHOWN for suspicion in apart.values())


def test_there_is_a_detector_of_each_kind() -> None:
    made = {detector.kind for detector in vars(detectors.Detectors()).values()}
    assert made | {"flood"} == set(KINDS)
