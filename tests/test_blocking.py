"""The answer to a detection: whom it blocks, for how long, and how many at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.detection.blocking import LONGEST_S, MOST, QUIET_S, SHORTEST_S, Answer, Blocking
from services.detection.detection import Detection

VISITORS = ("client", "attacker", "a", "b", "c", "d")


def detection(source: str = "attacker", kind: str = "scan") -> Detection:
    return Detection(kind, source, ("tcp/22 of srv1",), 4.1e7, 0.0, 1.0)


def answer(blocking: Blocking, source: str, now: float, standing: dict[str, float | None] | None = None) -> Answer:
    given_ = blocking.answer(detection(source), now, standing or {})
    assert given_ is not None
    return given_


def test_the_time_doubles_with_repetition_and_a_host_that_behaved_begins_anew() -> None:
    blocking, now, lengths = Blocking(VISITORS), 1000.0, []
    for _ in range(9):
        until = answer(blocking, "attacker", now).until
        assert until is not None
        lengths.append(until - now)
        now = until + 1
    assert lengths == [min(LONGEST_S, SHORTEST_S * 2**at) for at in range(9)]
    assert answer(blocking, "attacker", now + LONGEST_S).until == now + LONGEST_S + SHORTEST_S


def test_a_host_that_the_site_needs_is_never_blocked_and_that_is_said_once() -> None:
    blocking = Blocking(VISITORS)
    told = answer(blocking, "lb", 0.0)
    assert told.event["block"] is None
    assert told.why == "the site needs this host"
    assert blocking.answer(detection("lb"), 1.0, {}) is None
    assert blocking.answer(detection("lb"), QUIET_S + 1, {}) is not None


def test_who_is_blocked_is_not_blocked_again() -> None:
    assert Blocking(VISITORS).answer(detection(), 0.0, {"attacker": 60.0}) is None
    assert Blocking(VISITORS).answer(detection(), 0.0, {"attacker": None}) is None


@given(st.lists(st.tuples(st.sampled_from([*VISITORS, "lb", "srv1", "mon"]), st.floats(0, 30)), max_size=40))
def test_never_more_than_so_many_at_once_and_never_one_that_is_needed(steps: list[tuple[str, float]]) -> None:
    blocking, now, standing = Blocking(VISITORS), 0.0, dict[str, float | None]()
    for source, passed in steps:
        now += passed
        standing = {host: until for host, until in standing.items() if until is not None and until > now}
        told = blocking.answer(detection(source), now, standing)
        if told and told.until is not None:
            standing[source] = told.until
        assert set(standing) <= set(VISITORS)
        assert len(standing) <= MOST
