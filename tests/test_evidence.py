"""Evidence is validated once, at the door; a verdict is composed of named checks. No root, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from experiments.engine.base import Experiment, judged
from experiments.engine.evidence import Evidence, EvidenceError, SchemaError, unchanged
from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, all_of, composed, worst_exit


class SentProbe(TypedDict):
    host: str
    lost: int | None


@dataclass(frozen=True, kw_only=True)
class SentEvidence(Evidence):
    probes: Sequence[SentProbe]
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Newer(SentEvidence):
    SCHEMA = 2
    upgrades = {0: unchanged, 1: lambda raw: {**raw, "schema": 2, "seconds": raw["ms"] / 1000}}  # noqa: RUF012


GOOD: dict[str, Any] = {"schema": 1, "probes": [{"host": "srv1", "lost": 0}], "seconds": 1, "machine": []}


def test_evidence_is_read_with_what_the_engine_noted() -> None:
    evidence = SentEvidence.parse({**GOOD, "aborted": "interrupted", "unknown": 1})
    assert (evidence.probes, evidence.seconds, evidence.aborted) == ([{"host": "srv1", "lost": 0}], 1.0, "interrupted")
    assert evidence.own() == {"probes": [{"host": "srv1", "lost": 0}], "seconds": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": [{"host": "srv1"}]}, "schema 1: probes[0]: Object missing required field `lost`"),
        ({"probes": [{"host": 1, "lost": 0}]}, "schema 1: probes[0].host: Expected `str`, got `int`"),
        ({"probes": "none"}, "schema 1: probes: Expected `array`, got `str`"),
        ({"steady": {"before": {}}}, "schema 1: steady[...]: Object missing required field `holds`"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        SentEvidence.parse({**GOOD, **change})
    assert str(caught.value) == f"evidence.json: {message}"


def test_what_is_no_evidence_at_all_is_refused() -> None:
    with pytest.raises(EvidenceError, match="the whole: Expected `object`, got `array`"):
        SentEvidence.parse([])
    with pytest.raises(EvidenceError, match="the whole: Object missing required field `probes`"):
        SentEvidence.parse({"schema": 1})


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_is_refused_by_its_number(schema: Any) -> None:
    with pytest.raises(SchemaError, match=rf"^evidence.json: schema {schema}; this version judges schema 1"):
        SentEvidence.parse({**GOOD, "schema": schema})


def test_evidence_without_a_number_is_of_schema_0() -> None:
    raw = {name: value for name, value in GOOD.items() if name != "schema"}
    with pytest.raises(SchemaError, match="schema 0; this version judges schema 1"):
        SentEvidence.parse(raw)
    assert Newer.parse({**raw, "ms": 1500}).seconds == 1.5


class Reached(Experiment[SentEvidence]):
    name = "reached"
    claim = "no probe is lost"
    evidence = SentEvidence

    def measure(self, testbed: Any, run: Any) -> SentEvidence:
        raise NotImplementedError

    def judge(self, evidence: SentEvidence) -> Verdict:
        return Verdict(all(probe["lost"] == 0 for probe in evidence.probes), "counted")

    def show(self, evidence: SentEvidence, verdict: Verdict) -> str:
        return ""

    def page(self, evidence: SentEvidence) -> str:
        return ""


def test_wrong_evidence_is_unknown_and_another_schema_is_no_verdict() -> None:
    assert judged(Reached(), GOOD).holds is True
    wrong = judged(Reached(), {**GOOD, "probes": 1})
    assert (wrong.holds, "probes: Expected `array`" in wrong.because) == (None, True)
    with pytest.raises(SchemaError):
        judged(Reached(), {**GOOD, "schema": 7})


# --- checks ------------------------------------------------------------------------------------------------------


def check(name: str, holds: bool | None, **numbers: int) -> ClaimCheck[Any]:
    return ClaimCheck(name, lambda _: CheckResult(holds, f"{name} {holds}", numbers))


@pytest.mark.parametrize(
    ("answers", "holds", "because"),
    [
        ((True, True), True, "0 True"),
        ((True, None), None, "1 None"),
        ((None, False, False), False, "1 False"),
        ((True, None, None), None, "1 None"),
    ],
)
def test_false_beats_unknown_beats_true(answers: tuple[bool | None, ...], holds: bool | None, because: str) -> None:
    checks = [check(str(number), answer) for number, answer in enumerate(answers)]
    verdict = composed(checks, None)
    assert (verdict.holds, verdict.because) == (holds, because)
    assert all_of(*answers) is holds


def test_numbers_of_all_checks_are_in_the_verdict() -> None:
    assert composed([check("a", True, one=1), check("b", False, two=2)], None, {"all": 3}).numbers == {
        "all": 3,
        "one": 1,
        "two": 2,
    }


def test_a_check_that_throws_is_unknown_and_hides_no_failure() -> None:
    throws: ClaimCheck[Any] = ClaimCheck("division", lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    assert composed([check("a", True), throws], None) == Verdict(
        None, "division cannot be checked: ZeroDivisionError: division by zero"
    )
    assert composed([throws, check("a", False)], None).holds is False


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 0), 0), ((0, 2), 2), ((1, 2, 0), 1), ((2, 1), 1), ((1, 3, 2), 3), ((1, 130), 130)]
)
def test_the_worst_exit_code(codes: tuple[int, ...], worst: int) -> None:
    assert worst_exit(codes) == worst
