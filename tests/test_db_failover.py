"""The judge of db_failover, with good, bad and blind evidence; which faults are tried; what is shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import database_remedies as benchmark
from experiments.db_failover.accounting import PARTS
from experiments.db_failover.checks import judged_rounds
from experiments.db_failover.evidence import DbFailoverEvidence, packed
from experiments.db_failover.experiment import DbFailover
from experiments.engine.base import judged
from experiments.engine.verdict import Verdict
from testbed.faults.scenarios import DATABASE, eligible, left_out, named
from topo.errors import UsageError
from topo.profile import Profile

Evidence = dict[str, Any]
Change = Callable[[Evidence], None]
EXPERIMENT = DbFailover()
BACK_AFTER = 0.040


def node(name: str, rows: dict[str, str], primary: str) -> dict[str, Any]:
    return {
        "problem": None, "writable": name == primary, "rows": rows, "twice": dict.fromkeys(rows, ""), "checksum": 5,
        "state": "0-1-50", "position": "0-1-50", "last": 50,
    }  # fmt: skip


def round_(number: int, scenario: str, first: int) -> dict[str, Any]:
    """A fault at 100 s, noticed and mended in 40 ms."""
    began, last = 1000.0 * number, first + 49
    steady = [began - 1 + n / 100 for n in range(100)] + [began + BACK_AFTER + n / 100 for n in range(200)]
    steps = ("detect", "fenced", "candidate", "drained", "promoted", "routed")
    ids = {"srv2": f"{first}-{last}", "site": f"{first}-{last}"}
    return {
        "number": number, "scenario": scenario, "primary": "srv1", "cut_off": [], "greeted": True,
        "proof": "it was dead",
        "began": began, "healing": began + 0.5, "settled": began + 1.5, "problem": None, "unequal": None,
        "answers": {way: packed(steady, began - 1) for way in ("endpoint", "site")},
        "owners": [
            ["srv1", 20, began - 1, began - 0.01, began - 0.011], ["srv2", 20, began + 0.04, began + 2, began + 1.9]
        ],
        "events": [{"time": began + 0.005 * n, "event": step, "primary": "srv2"} for n, step in enumerate(steps, 1)],
        "writes": {name: {"ok": text, "failed": "", "unknown": ""} for name, text in ids.items()},
        "nodes": {name: node(name, ids, "srv2") for name in ("srv1", "srv2", "srv3")},
    }  # fmt: skip


def good() -> Evidence:
    rounds = [round_(1, "crash", 1), round_(2, "freeze", 51), round_(3, "planned", 101)]
    ids = {"srv2": "1-150", "site": "1-150"}
    final = {"nodes": {name: node(name, ids, "srv2") for name in ("srv1", "srv2", "srv3")}, "unequal": None}
    return {
        "schema": 1, "db": "semisync", "window": 5.0, "scheduled": 3, "left_out": {}, "rounds": rounds, "stopped": None,
        "final": final,
    }  # fmt: skip


def parsed(raw: Evidence) -> DbFailoverEvidence:
    return DbFailoverEvidence.parse(raw)


def verdict(change: Change = lambda _: None) -> Verdict:
    evidence = good()
    change(evidence)
    return judged(EXPERIMENT, json.loads(json.dumps(evidence)))


def test_a_failover_without_loss_holds() -> None:
    found = verdict()
    assert found.holds is True, found.because
    assert found.numbers["acknowledged"] == 300
    assert (found.numbers["faults"], found.numbers["failures"], found.numbers["lost"]) == (3, 2, 0)
    assert found.numbers["gap_ms_crash"]["median"] == pytest.approx(50)
    assert found.numbers["crash_detect_ms"]["median"] == pytest.approx(5)
    assert found.numbers["target_crash_p50_within_50_ms"] is True
    assert found.numbers["target_planned_all_within_20_ms"] is False


def at_end(name: str, key: str, value: Any) -> Change:
    return lambda evidence: evidence["final"]["nodes"][name].update({key: value})


def at(number: int, **changes: Any) -> Change:
    return lambda evidence: evidence["rounds"][number - 1].update(changes)


def in_table(number: int, name: str, **changes: Any) -> Change:
    return lambda evidence: evidence["rounds"][number - 1]["nodes"][name].update(changes)


def told(number: int, writer: str, **changes: str) -> Change:
    return lambda evidence: evidence["rounds"][number - 1]["writes"][writer].update(changes)


def silent_until_healed(evidence: Evidence) -> None:
    this = evidence["rounds"][1]
    before = [this["began"] - 1 + n / 100 for n in range(100)]
    this["answers"]["endpoint"] = packed([*before, this["healing"] + 0.3, this["settled"] + 0.1], this["began"] - 1)


ONE_LESS = {"srv2": "51-99", "site": "51-100"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_table(2, "srv2", rows=ONE_LESS), "round 2 (freeze of srv1): 1 acknowledged writes lost: srv2 100"),
        (
            at_end("srv2", "rows", {"srv2": "1-149", "site": "1-150"}),
            "at the end: 1 acknowledged writes lost: srv2 150",
        ),
        (in_table(1, "srv2", twice={"site": "7"}), "round 1 (crash of srv1): 1 writes there more than once: site 7"),
        (told(1, "site", ok="1-49", failed="50"), "1 writes there that had failed: site 50"),
        (in_table(1, "srv3", rows={"srv2": "1-50", "site": "1-49"}), "1 nodes that differ: srv3 lacks 1"),
        (in_table(1, "srv3", checksum=6), "1 nodes that differ: srv3 has the same writes"),
        (in_table(1, "srv1", state="0-1-51"), "1 nodes with transactions of their own: srv1"),
        (in_table(1, "srv1", writable=True), "signs of two primaries: open for writes at once"),
        (told(1, "site", ok="1-49"), "1 rows that nobody wrote: site 50"),
        (silent_until_healed, "writes did not come back within 5 s: round 2 (freeze of srv1)"),
        (at(3, problem="srv1 does not follow"), "round 3 (planned of srv1): not healed: srv1 does not follow"),
    ],
)
def test_every_broken_promise_fails_the_claim(change: Change, said: str) -> None:
    found = verdict(change)
    assert found.holds is False
    assert said in found.because


def test_two_primaries_are_seen_in_who_answered() -> None:
    owners = good()["rounds"][0]["owners"]
    found = verdict(at(1, owners=[*owners, ["srv1", 1, 1003.0, 1003.0, 1002.9]]))
    assert found.holds is False
    assert "two primaries" in found.because
    assert found.numbers["two_primaries"] == 1


def test_what_is_wrong_is_said_before_what_is_unknown() -> None:
    def both(evidence: Evidence) -> None:
        at(1, proof=None)(evidence)
        in_table(2, "srv2", rows=ONE_LESS)(evidence)

    assert verdict(both).holds is False


def few_answers(evidence: Evidence) -> None:
    this = evidence["rounds"][0]
    this["answers"]["endpoint"] = packed([this["began"] - 0.01, this["began"] + 0.05], this["began"] - 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (at(1, proof=None), "the fault was not seen to be in force"),
        (at(1, greeted=False), "did not greet before"),
        (few_answers, "only 1 writes were acknowledged just before"),
        (in_table(1, "srv3", problem="refused"), "srv3: refused"),
        (in_table(1, "srv2", problem="refused"), "no primary to read"),
        (at_end("srv3", "problem", "refused"), "at the end: srv3: refused"),
        (lambda evidence: evidence.update(stopped="round 4: nobody writes"), "round 4: nobody writes"),
        (lambda evidence: evidence.update(scheduled=4), "3 of 4 rounds were finished"),
        (lambda evidence: evidence.update(rounds=[]), "no round was finished"),
        (lambda evidence: evidence.update(final=None), "no round was finished"),
        (lambda evidence: evidence.pop("final"), "cannot be judged"),
        (told(1, "site", ok="50-1"), "cannot be judged"),
    ],
)
def test_what_was_not_seen_proves_nothing(change: Change, said: str) -> None:
    found = verdict(change)
    assert found.holds is None, found
    assert said in found.because


def test_one_changed_byte_changes_the_verdict() -> None:
    text = json.dumps(good())
    changed = text.replace('"srv2": "51-100"', '"srv2": "51-101"', 1)
    assert len(changed) == len(text)
    assert judged(EXPERIMENT, json.loads(changed)).holds is False
    assert judged(EXPERIMENT, json.loads(text)).holds is True


def test_galera_may_have_several_writers() -> None:
    def open_all(evidence: Evidence) -> None:
        evidence["db"] = "galera"
        for at_ in (*evidence["rounds"], evidence["final"]):
            for each in at_["nodes"].values():
                each["writable"] = True

    assert verdict(open_all).holds is True


def test_after_two_faults_at_once_writes_are_awaited_after_healing() -> None:
    def two(evidence: Evidence) -> None:
        evidence["rounds"][1]["scenario"] = "candidate"
        silent_until_healed(evidence)

    assert verdict(two).holds is True


def test_a_gaps_parts_add_up() -> None:
    for each in judged_rounds(parsed(good())):
        assert each.gap is not None
        assert sum(each.parts.values()) == pytest.approx(each.gap.ms)
        assert set(each.parts) == set(PARTS)


# --- which faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", Profile.__dataclass_fields__["db"].metadata["values"])
def test_every_kind_is_possible_or_left_out_with_a_reason(design: str) -> None:
    inside = {scenario.name for scenario in eligible(design)}
    assert inside | set(left_out(design)) == {scenario.name for scenario in DATABASE}
    assert not inside & set(left_out(design))
    assert {"crash", "freeze", "cut", "off"} <= inside


def test_what_needs_a_manager_is_left_out_without_one() -> None:
    kinds = {"candidate", "manager", "unwatched", "lag", "severed", "flap", "stuck", "lone", "planned"}
    assert set(left_out("single")) == kinds
    assert left_out("semisync") == {}


def test_kinds_are_chosen_by_name() -> None:
    assert [scenario.name for scenario in named("freeze,crash", eligible("single"))] == ["freeze", "crash"]
    assert named("all", eligible("async")) == eligible("async")


@pytest.mark.parametrize(("name", "said"), [("lag", "no failover manager"), ("crush", "no such fault; .* crash")])
def test_a_kind_that_is_not_possible_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        named(f"crash,{name}", eligible("single"), left_out("single"))


# --- what is shown -------------------------------------------------------------------------------------------------


def test_the_table_and_the_page_have_a_row_for_each_kind() -> None:
    evidence = copy.deepcopy(good())
    evidence["left_out"] = {"lag": "no manager"}
    shown = str(EXPERIMENT.show(parsed(evidence), EXPERIMENT.judge(parsed(evidence))))
    page = EXPERIMENT.page(parsed(evidence))
    for kind in ("crash", "freeze", "planned"):
        assert kind in shown
        assert f"<td>{kind}</td>" in page
    assert "left out, because no manager: lag" in shown
    assert "it was dead" in page


def test_there_are_three_pictures() -> None:
    drawn = EXPERIMENT.plots(parsed(good()))
    assert [plot.kind for plot in drawn] == ["steps", "ecdf", "stacked"]
    assert drawn[0].note == "round 1 (crash of srv1)"
    assert {mark.label for mark in drawn[0].marks} >= {"crash", "detect", "promoted", "heal"}
    assert [series.label for series in drawn[1].series] == ["crash", "freeze", "planned"]


def by_galera() -> Evidence:
    evidence = copy.deepcopy(good())
    evidence["db"] = "galera"
    evidence["rounds"] = [each for each in evidence["rounds"] if each["scenario"] != "planned"]
    evidence["scheduled"] = len(evidence["rounds"])
    for each in evidence["rounds"]:
        each["events"] = []
    return evidence


def test_without_a_manager_nobody_says_what_a_gap_is_made_of() -> None:
    evidence = by_galera()
    numbers = EXPERIMENT.judge(parsed(evidence)).numbers
    assert "gap_ms_crash" in numbers
    assert not [name for name in numbers if name.startswith("crash_")]
    assert [plot.kind for plot in EXPERIMENT.plots(parsed(evidence))] == ["steps", "ecdf"]
    assert "<th>promote</th>" not in EXPERIMENT.page(parsed(evidence))
    assert "<th>promote</th>" in EXPERIMENT.page(parsed(good()))


def test_pictures_show_targets_and_marks_only_where_there_is_something_to_see() -> None:
    evidence = by_galera()
    evidence["rounds"][0]["events"] = [{"time": evidence["rounds"][0]["began"] + 1000, "event": "rejoined"}]
    around, gaps = EXPERIMENT.plots(parsed(evidence))
    assert "rejoined" not in {mark.label for mark in around.marks}
    assert [mark.label for mark in gaps.marks] == ["target crash", "target silent"]


# --- the benchmark -------------------------------------------------------------------------------------------------


def row(ours: float, asynchronous: float, galera: float, lost: int = 0) -> dict[str, Any]:
    gaps = {"semisync": ours, "async": asynchronous, "galera": galera}
    return {
        design: {"gap_ms": gap, "lost": lost if design == "async" else 0, "back": design != "galera"}
        for design, gap in gaps.items()
    }


def test_the_benchmark_lays_three_designs_side_by_side() -> None:
    found = benchmark.report({"crash": [row(40, 30, 3000), row(44, 50, 2000, 3)], "freeze": [row(300, 310, 2500)] * 2})
    judged_ = {series.measure: series.judged("db_failover") for series in found.series}
    assert judged_["crash: write gap / galera"]["ours"] == 42
    assert judged_["crash: write gap / galera"]["reference"] == 2500
    assert judged_["crash: write gap / async"]["met"] is True
    lost = judged_["acknowledged and lost / async"]
    assert (lost["ours"], lost["reference"], lost["met"]) == (0, 3, True)
    assert "semisync 0 of 4, async 0 of 4, galera 4 of 4" in found.notes[0]
