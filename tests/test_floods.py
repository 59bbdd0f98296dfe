"""Floods: proved by counters, blamed on the host that has sent them, and on no other whatever it sends."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from services.detection.floods import BEGUN, FORGED, MOST, REFUSED, SENT, FloodDetector, Traffic

LOOK_S = 0.2
Rates = dict[str, dict[str, float]]


def sources(rates: Rates, rules: dict[str, float] | None = None, seconds: float = 4, begins: float = 1.0) -> set[str]:
    """The sources that are found when hosts send so many packets a second from a time on."""
    detector, told = FloodDetector(), set()
    for look in range(round(seconds / LOOK_S)):
        passed = max(0.0, look * LOOK_S - begins)
        counts = {host: {what: round(rate * passed) for what, rate in of.items()} for host, of in rates.items()}
        met = {rule: round(rate * passed) for rule, rate in (rules or {}).items()}
        told |= {detection.source for detection in detector.look(Traffic(look * LOOK_S, counts, met))}
    return told


HONEST: Rates = {"client": {SENT: 26_000, BEGUN: 400}, "lb": {SENT: 60_000}}


def test_each_kind_of_flood_is_found_and_the_busy_honest_are_not() -> None:
    for what in (REFUSED, FORGED):
        assert sources({**HONEST, "attacker": {SENT: 0, what: 2000}}) == {"attacker"}
    assert sources({**HONEST, "attacker": {SENT: 2000, BEGUN: 1990}}) == {"attacker"}
    assert sources({"client": {SENT: 2500}, "attacker": {SENT: 10_000}}, {"site-ping": 10_000}) == {"attacker"}
    assert sources(HONEST) == set()


def test_what_is_below_the_limit_is_none() -> None:
    slow = 0.9 * MOST
    assert sources({"attacker": {SENT: slow, BEGUN: slow, REFUSED: slow, FORGED: slow}}, {"dns-udp": slow}) == set()


def test_many_new_connections_that_go_on_are_none() -> None:
    assert sources({"client": {SENT: 30_000, BEGUN: 7000}}) == set()


def test_a_flood_is_found_in_a_second() -> None:
    for rates, rules in (
        ({"attacker": {REFUSED: 10_000.0}}, {}),
        ({"attacker": {SENT: 10_000.0}, "client": {SENT: 1000.0}}, {"site-ping": 20_000.0}),
    ):
        assert sources(rates, rules, seconds=1.6, begins=1.0) == {"attacker"}


def test_without_a_proof_nobody_is_blamed() -> None:
    """Both have sent more than the rule has met: it may have been either."""
    assert sources({"client": {SENT: 9000}, "attacker": {SENT: 9000}}, {"site-ping": 8000}) == set()


def test_counters_that_begin_anew_are_no_flood() -> None:
    detector = FloodDetector()
    counts: Iterable[int] = (0, 10**6, 10**6, 10**6, 10**6, 10**6, 10**6, 10**6, 0, 10, 20, 30)
    looks = [Traffic(at * 0.3, {"attacker": {REFUSED: count}}) for at, count in enumerate(counts)]
    assert [bool(list(detector.look(look))) for look in looks][-5:] == [False] * 5


@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 5000)),
        min_size=2,
        max_size=12,
    )
)
def test_the_client_is_never_blamed_for_what_the_attacker_sends(steps: list[tuple[int, int, int, int]]) -> None:
    """Honest load and any attack, counted in lumps; the rule has met what the attacker has sent, and its answers."""
    detector, client, attacker, lb = FloodDetector(), 0, dict.fromkeys((SENT, BEGUN, REFUSED, FORGED), 0), 0
    for at, (honest, pings, bad, answers) in enumerate(steps):
        client += honest
        attacker = {what: count + bad for what, count in attacker.items()}
        attacker[SENT] += pings
        lb += min(answers, pings)
        counts = {"client": {SENT: client, BEGUN: client // 4}, "attacker": attacker, "lb": {SENT: lb}}
        told = detector.look(Traffic(at * 0.25, counts, {"site-ping": attacker[SENT] - attacker[BEGUN] + lb}))
        assert {detection.source for detection in told} <= {"attacker", "lb"}
