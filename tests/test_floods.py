"""Floods: proved by counters, blamed on the host that has sent them, and on no other whatever it sends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controllers.sourcecounters import BEGUN, FORGED, LOOSE, REFUSED, SENT
from services.detection.floods import MOST, FloodDetector, Traffic

LOOK_S = 0.2
Rates = dict[str, dict[str, float]]


def sources(rates: Rates, seconds: float = 4, begins: float = 1.0) -> list[str]:
    """The sources that are found when hosts send so many packets a second from a time on."""
    detector, told = FloodDetector(), []
    for look in range(round(seconds / LOOK_S)):
        passed = max(0.0, look * LOOK_S - begins)
        counts = {host: {what: round(rate * passed) for what, rate in of.items()} for host, of in rates.items()}
        told += [detection.source for detection in detector.look(Traffic(look * LOOK_S, counts))]
    return told


HONEST: Rates = {"client": {SENT: 26_000, BEGUN: 400, LOOSE: 30}, "lb": {SENT: 60_000}}


def test_each_kind_of_flood_is_found_and_the_busy_honest_are_not() -> None:
    for what in (REFUSED, FORGED, LOOSE):
        assert set(sources({**HONEST, "attacker": {SENT: 0, what: 2000}})) == {"attacker"}
    for answers_refused in (0, 1):
        flood = {SENT: 2010 * (1 + answers_refused), BEGUN: 2000}
        assert set(sources({**HONEST, "attacker": flood})) == {"attacker"}
    assert sources(HONEST) == []


def test_what_is_below_the_limit_is_none() -> None:
    slow = 0.9 * MOST
    assert sources({"attacker": dict.fromkeys((SENT, BEGUN, LOOSE, REFUSED, FORGED), slow)}) == []


def test_many_new_connections_that_go_on_are_none() -> None:
    assert sources({"client": {SENT: 30_000, BEGUN: 7000}}) == []


def test_a_flood_is_found_in_half_a_second_and_once_in_the_next() -> None:
    for what in (REFUSED, FORGED, LOOSE, BEGUN):
        assert sources({"attacker": {what: 10_000}}, seconds=1.6, begins=1.0) == ["attacker"]
        assert sources({"attacker": {what: 10_000}}, seconds=2.4, begins=1.0) == ["attacker"]


def test_only_what_is_compared_with_another_counter_waits_for_the_next_look() -> None:
    """Of 2,000 a second the 500th comes after 0.25 s: the second look has it."""
    for what, seconds in ((REFUSED, 0.6), (FORGED, 0.6), (LOOSE, 0.6), (BEGUN, 0.8)):
        assert sources({"attacker": {what: 2000}}, seconds=1.0 + seconds) == ["attacker"], what
        assert sources({"attacker": {what: 2000}}, seconds=1.0 + seconds - LOOK_S) == [], what


def test_what_was_counted_before_a_verdict_is_no_evidence_after_it() -> None:
    """A block that is lifted by hand does not come back for the flood that it was for."""
    detector = FloodDetector()
    looks = [Traffic(at * LOOK_S, {"attacker": {REFUSED: min(at, 4) * 1000}}) for at in range(30)]
    assert sum(len(list(detector.look(look))) for look in looks) == 1


def test_counters_that_begin_anew_are_no_flood() -> None:
    detector = FloodDetector()
    counts = (0, 0, 0, 10**6, 0, 0, 0, 10, 20, 30)
    looks = [Traffic(at * 0.6, {"attacker": {REFUSED: count}}) for at, count in enumerate(counts)]
    assert [list(detector.look(look)) for look in looks][-5:] == [[]] * 5


@given(st.lists(st.tuples(*[st.integers(0, 3000)] * 5), min_size=2, max_size=12))
def test_the_client_is_never_blamed_for_what_the_attacker_sends(steps: list[tuple[int, ...]]) -> None:
    """Honest load and any attack, counted in lumps."""
    detector, client, attacker = FloodDetector(), 0, dict.fromkeys((BEGUN, LOOSE, REFUSED, FORGED), 0)
    for at, (honest, *attacks) in enumerate(steps):
        client += honest
        attacker = {what: count + more for (what, count), more in zip(attacker.items(), attacks, strict=True)}
        counts = {"client": {SENT: client, BEGUN: client // 4}, "attacker": attacker}
        assert {detection.source for detection in detector.look(Traffic(at * LOOK_S, counts))} <= {"attacker"}
