"""The write gap and its parts: known answers, and parts that always add up."""

from __future__ import annotations

import random

import pytest

from experiments.db_failover.accounting import ENDS, PARTS, Gap, gap, parts
from experiments.db_failover.evidence import packed, unpacked

STEADY = [10 + n / 100 for n in range(100)]


def events(**times: float) -> list[dict[str, object]]:
    return [{"time": when, "event": name} for name, when in times.items()]


WHOLE = Gap(10.0, 10.1)
PASSED = events(
    detect=10.03,
    fence=10.031,
    fenced=10.04,
    candidate=10.045,
    drained=10.06,
    promoted=10.07,
    routed=10.08,
    repoint=10.09,
)


def test_the_longest_time_between_answers_after_the_fault() -> None:
    answers = [each for each in STEADY if not 10.5 < each < 10.8]
    found = gap(answers, 10.505, 10.99)
    assert found is not None
    assert found.ms == pytest.approx(300)
    assert (found.began, found.ended) == pytest.approx((10.5, 10.8))


def test_what_was_before_the_fault_or_after_healing_is_not_its_gap() -> None:
    answers = [each for each in STEADY if not 10.2 < each < 10.4 and not 10.7 < each < 10.9]
    found = gap(answers, 10.5, 10.65)
    assert found is not None
    assert found.ms == pytest.approx(10)


@pytest.mark.parametrize("answers", [[], [10.0], [9.0, 10.0], [10.6, 12.0], [9.0, 10.49, 10.501, 10.502]])
def test_without_an_answer_afterwards_nobody_knows(answers: list[float]) -> None:
    assert gap(answers, 10.5, 11.0) is None


def test_the_parts_are_what_the_events_say() -> None:
    found = parts(WHOLE, 10.01, PASSED)
    assert found == pytest.approx(
        {
            "before": 10,
            "detect": 20,
            "fence": 10,
            "choose": 5,
            "drain": 15,
            "promote": 10,
            "route": 10,
            "follow": 0,
            "retry": 20,
            "unknown": 0,
        }
    )


def test_fencing_that_nobody_waited_for_takes_no_time() -> None:
    late = [event for event in PASSED if event["event"] != "fenced"] + events(fenced=10.075)
    found = parts(WHOLE, 10.01, late)
    assert found["fence"] == 0
    assert found["choose"] == pytest.approx(15)


def test_the_first_write_of_a_lossless_design_waits_for_a_replica() -> None:
    found = parts(WHOLE, 10.01, PASSED, lossless=True)
    assert (found["follow"], found["retry"]) == pytest.approx((10, 10))
    early = [event for event in PASSED if event["event"] != "repoint"] + events(repoint=10.075)
    assert parts(WHOLE, 10.01, early, lossless=True) == parts(WHOLE, 10.01, PASSED)


def test_without_events_everything_is_unknown() -> None:
    found = parts(WHOLE, 10.01, [])
    assert found["unknown"] == pytest.approx(90)
    assert found["before"] == pytest.approx(10)


def test_what_follows_a_missing_event_is_unknown() -> None:
    found = parts(WHOLE, 10.01, [event for event in PASSED if event["event"] != "drained"])
    assert found["drain"] == found["promote"] == 0
    assert found["unknown"] == pytest.approx(25)


def test_parts_add_up_whatever_happens() -> None:
    chance = random.Random(3)
    for _ in range(300):
        chosen = chance.sample(sorted(ENDS.values()), chance.randint(0, len(ENDS)))
        some = [{"time": chance.uniform(9.9, 10.2), "event": name} for name in chosen]
        found = parts(WHOLE, chance.uniform(9.9, 10.2), some, lossless=chance.random() < 0.5)
        assert set(found) == set(PARTS)
        assert sum(found.values()) == pytest.approx(WHOLE.ms)
        assert min(found.values()) >= 0


def test_moments_are_packed_to_a_tenth_of_a_millisecond() -> None:
    times = [100.25, 99.5001, 101.0]
    assert packed(times, 99.0) == "5001 7499 7500"
    assert unpacked(packed(times, 99.0), 99.0) == pytest.approx(sorted(times))
    assert packed([], 99.0) == ""
    assert unpacked("", 99.0) == []
