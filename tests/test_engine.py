"""How a run ends: what is saved, what is said, what may stand. No root, no network."""

from __future__ import annotations

import copy
import json
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fakes import SteadyTestbed

from experiments.engine import folder, report, runner
from experiments.engine.base import Experiment, judged
from experiments.engine.evidence import Evidence, unchanged
from experiments.engine.provenance import LAG_MS, machine_watched, overloaded
from experiments.engine.run import Asked, Option, Run
from experiments.engine.verdict import Verdict
from testbed import interruption
from topo.errors import UsageError
from topo.folders import opened


@dataclass(frozen=True, kw_only=True)
class ToyEvidence(Evidence):
    upgrades = {0: unchanged}  # noqa: RUF012 - a class variable, as in Evidence

    found: Sequence[int]
    done: bool | None = None


class Toy(Experiment[ToyEvidence]):
    """Measures numbers in rounds, until it is told to break."""

    name = "toy"
    claim = "all numbers are small"
    repeats = True
    evidence = ToyEvidence
    options = (Option("most", 10, "the largest number", least=1),)

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def measure(self, testbed: Any, run: Run) -> ToyEvidence:
        found: list[int] = []
        run.keep("found", found)
        with run.phase("count", 3):
            for _ in range(run.repeat or 3):
                found.append(run.random.randrange(int(run.options["most"])))
        if self.error:
            raise self.error
        return ToyEvidence(found=found, done=True)

    def judge(self, evidence: ToyEvidence) -> Verdict:
        assert evidence.found
        numbers = {"found": len(evidence.found)}
        return Verdict(max(evidence.found) < 10, f"the largest is {max(evidence.found)}", numbers)

    def show(self, evidence: ToyEvidence, verdict: Verdict) -> str:
        return f"shown {evidence.found}"

    def page(self, evidence: ToyEvidence) -> str:
        return f"<p>{evidence.found} {evidence.done}</p>"


class Timed(Toy):
    name = "timed"
    timing = True


pytestmark = pytest.mark.usefixtures("impatient")


def run(
    experiment: Experiment[Any], bed: SteadyTestbed, runs: Path, asked: Asked | None = None
) -> tuple[dict[str, Any], Path]:
    return runner.run(experiment, bed, runs, asked or Asked(seed=1))  # type: ignore[arg-type]


def only_run(runs: Path, name: str = "toy") -> tuple[dict[str, Any], dict[str, Any], Path]:
    (path,) = (runs / name).iterdir()
    return folder.read(path, folder.RESULT), folder.read(path, folder.EVIDENCE), path


# --- seed, rounds and options ----------------------------------------------------------------------------------


def test_the_seed_repeats_a_run(tmp_path: Path) -> None:
    found = [
        folder.read(run(Toy(), SteadyTestbed(), tmp_path, Asked(seed=seed))[1], folder.EVIDENCE)["found"]
        for seed in (7, 7, 8)
    ]
    assert found[0] == found[1] != found[2]


def test_without_a_seed_each_run_has_its_own_and_says_it(tmp_path: Path) -> None:
    seeds = {run(Toy(), SteadyTestbed(), tmp_path, Asked())[0]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_rounds_and_options_reach_the_experiment_and_the_result(tmp_path: Path) -> None:
    result, path = run(Toy(), SteadyTestbed(), tmp_path, Asked(1, 20, {"most": "1"}))
    assert folder.read(path, folder.EVIDENCE)["found"] == [0] * 20
    assert (result["repeat"], result["options"]) == (20, {"most": 1})


def test_an_option_that_cannot_be_meant_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--most 0: must be a whole number, 1 or more"):
        run(Toy(), SteadyTestbed(), tmp_path, Asked(options={"most": "0"}))


# --- steady before and after -----------------------------------------------------------------------------------


def test_a_testbed_that_stays_broken_afterwards_lets_nothing_hold(tmp_path: Path) -> None:
    result, path = run(Toy(), SteadyTestbed(True, False), tmp_path)
    assert (result["status"], result["steady"]) == ("completed", {"before": True, "after": False})
    assert result["verdict"]["holds"] is None
    assert "did not become steady again: srv1/web: died; before that: the largest is" in result["verdict"]["because"]
    assert judged(Toy(), folder.read(path, folder.EVIDENCE)).as_dict() == result["verdict"]


def test_what_fails_fails_on_a_broken_testbed_too(tmp_path: Path) -> None:
    result, _ = run(Toy(), SteadyTestbed(True, False), tmp_path, Asked(1, 50, {"most": "1000"}))
    assert result["verdict"]["holds"] is False


def test_a_testbed_may_take_its_time_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AFTER_SECONDS", 5.0)
    result, path = run(Toy(), SteadyTestbed(True, False, False, True), tmp_path)
    assert result["steady"]["after"] is True
    assert folder.read(path, folder.EVIDENCE)["steady"]["after"]["seconds"] > 0


def test_a_refused_run_can_be_judged_again(tmp_path: Path) -> None:
    result, path = run(Toy(), SteadyTestbed(False), tmp_path)
    assert (result["status"], result["verdict"]["holds"]) == ("refused", None)
    assert judged(Toy(), folder.read(path, folder.EVIDENCE)).as_dict() == result["verdict"]


# --- what a person does meanwhile ------------------------------------------------------------------------------


class Disturbed(Toy):
    """Somebody does something to the testbed while it measures."""

    def measure(self, testbed: Any, run: Run) -> ToyEvidence:
        evidence = super().measure(testbed, run)
        testbed.disturbances.request("another terminal", "fault kill srv1 web", lambda: {"number": 1})
        run.mark("over")
        return evidence


@pytest.mark.parametrize("most", ["1", "100000"], ids=["it would hold", "it would fail"])
def test_a_run_that_was_disturbed_by_hand_is_unknown_and_says_why(tmp_path: Path, most: str) -> None:
    control, _ = run(Toy(), SteadyTestbed(), tmp_path, Asked(1, 20, {"most": most}))
    assert control["verdict"]["holds"] is (most == "1")
    result, path = run(Disturbed(), SteadyTestbed(), tmp_path, Asked(1, 20, {"most": most}))
    assert (result["status"], result["verdict"]["holds"]) == ("completed", None)
    because = "disturbed while it was measured: fault kill srv1 web (another terminal); what was seen: the largest is"
    assert result["verdict"]["because"].startswith(because)
    evidence = folder.read(path, folder.EVIDENCE)
    assert [(row["who"], row["what"]) for row in evidence["disturbances"]] == [
        ("another terminal", "fault kill srv1 web")
    ]
    assert [mark["what"] for mark in evidence["timeline"]] == ["phase", "by hand", "over"]
    assert judged(Toy(), evidence).as_dict() == result["verdict"]


def test_what_was_done_before_the_run_does_not_disturb_it(tmp_path: Path) -> None:
    bed = SteadyTestbed()
    bed.disturbances.note("another terminal", "fault kill srv1 web")
    result, path = run(Toy(), bed, tmp_path)
    assert result["verdict"]["holds"] is True
    assert folder.read(path, folder.EVIDENCE)["disturbances"] == []


def test_a_run_that_breaks_off_says_that_it_was_disturbed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        run(Disturbed(OSError("gone")), bed := SteadyTestbed(), tmp_path)
    assert bed.disturbances.since(0) == []  # it broke off before
    with pytest.raises(OSError, match="gone"):
        run(DisturbedFirst(OSError("gone")), SteadyTestbed(), tmp_path / "more")
    result, _, _ = only_run(tmp_path / "more")
    assert result["verdict"]["because"].startswith(
        "disturbed while it was measured: heal 1 (the prompt); what was seen"
    )


class DisturbedFirst(Toy):
    def measure(self, testbed: Any, run: Run) -> ToyEvidence:
        testbed.disturbances.note("the prompt", "heal 1")
        return super().measure(testbed, run)


# --- how a run breaks off --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "why"),
    [(SystemExit(130), "interrupted"), (KeyboardInterrupt(), "interrupted"), (OSError("gone"), "OSError: gone")],
)
def test_what_was_kept_is_saved_and_judged_as_aborted(tmp_path: Path, error: BaseException, why: str) -> None:
    with pytest.raises(type(error)) as caught:
        run(Toy(error), SteadyTestbed(), tmp_path)
    assert caught.value is error
    result, evidence, path = only_run(tmp_path)
    assert (result["status"], result["steady"]) == ("aborted", {"before": True, "after": False})
    assert result["verdict"] == {"holds": None, "because": f"aborted: {why}", "numbers": {"found": 3}}
    assert len(evidence["found"]) == 3
    assert evidence["timeline"][0]["what"] == "phase"
    assert judged(Toy(), evidence).as_dict() == result["verdict"]
    assert (path / folder.REPORT).exists()


def test_a_run_can_be_judged_later_when_its_judge_did_not_come_to_an_end(tmp_path: Path) -> None:
    class Stopped(Toy):
        def judge(self, evidence: ToyEvidence) -> Verdict:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(Stopped(), SteadyTestbed(), tmp_path)
    (made,) = (tmp_path / "toy").iterdir()
    result = folder.read(made, folder.RESULT)
    assert (result["status"], result["verdict"]["holds"]) == ("completed", None)
    assert judged(Toy(), folder.read(made, folder.EVIDENCE)).holds is not None


def test_what_breaks_while_saving_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder, "collect_logs", lambda *_: 1 / 0)
    with pytest.raises(SystemExit):
        run(Toy(SystemExit(130)), SteadyTestbed(), tmp_path)
    assert "collecting the logs: ZeroDivisionError" in capsys.readouterr().err
    assert only_run(tmp_path)[0]["status"] == "aborted"


def test_evidence_that_cannot_be_saved_proves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Strange(Toy):
        def measure(self, testbed: Any, run: Run) -> ToyEvidence:
            return ToyEvidence(found=[1], done={1, 2})  # type: ignore[arg-type]

    result, _ = run(Strange(), SteadyTestbed(), tmp_path)
    assert result["verdict"]["holds"] is None
    assert "cannot be saved" in result["verdict"]["because"]


def test_a_wish_to_leave_waits_while_things_are_saved() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with interruption.undisturbed():
            signal.raise_signal(signal.SIGTERM)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_the_signals_alone() -> None:
    done: list[bool] = []

    def quietly() -> None:
        with interruption.undisturbed():
            done.append(True)

    thread = threading.Thread(target=quietly)
    thread.start()
    thread.join()
    assert done == [True]


def test_the_ends_of_all_logs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MOST_BYTES", 8)
    log = tmp_path / "error.log"
    log.write_text("long ago\njust now")
    for error in (None, SystemExit(130)):
        if error is None:
            run(Toy(), SteadyTestbed(log=log), tmp_path / "good")
        else:
            with pytest.raises(SystemExit):
                run(Toy(error), SteadyTestbed(log=log), tmp_path / "bad")
    for runs in ("good", "bad"):
        _, _, path = only_run(tmp_path / runs)
        assert (path / "logs" / "srv1-web-error.log").read_text() == "just now"


# --- the machine -----------------------------------------------------------------------------------------------

QUIET, BUSY = {"time": 1.0, "idle": 0.5, "lag_ms": 1.0}, {"time": 1.0, "idle": 0.5, "lag_ms": LAG_MS + 1}
FULL = {"time": 1.0, "idle": 0.0, "lag_ms": 1.0}


def test_overloaded_seconds_are_counted() -> None:
    assert overloaded([QUIET, BUSY, FULL, QUIET]) == 2
    assert overloaded([]) == 0


@pytest.mark.parametrize("slow", [BUSY, FULL])
def test_times_of_an_overloaded_machine_say_so(slow: dict[str, float]) -> None:
    evidence = {"found": [1], "machine": [QUIET] * 8 + [slow] * 2}
    verdict = judged(Timed(), evidence)
    assert verdict.holds is True
    assert "(the machine was overloaded in 2 of 10 s: times are partly its own)" in verdict.because
    assert (verdict.numbers["measured_s"], verdict.numbers["overloaded_s"]) == (10, 2)
    assert "overloaded" not in judged(Toy(), evidence).because


def test_a_quiet_machine_is_not_mentioned() -> None:
    verdict = judged(Timed(), {"found": [1], "machine": [QUIET] * 99 + [BUSY]})
    assert "overloaded" not in verdict.because
    assert verdict.numbers["overloaded_s"] == 1


def test_the_machine_is_watched_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.engine.provenance.EVERY", 0.1)
    enough = threading.Event()
    with machine_watched() as seconds:
        for _ in range(200):
            if len(seconds) >= 2 or enough.wait(0.05):
                break
    assert len(seconds) >= 2
    assert all(0 <= each["idle"] <= 1 and each["lag_ms"] >= 0 for each in seconds)


# --- JUnit -----------------------------------------------------------------------------------------------------


def outcome(holds: bool | None, status: str = "completed", **numbers: Any) -> dict[str, Any]:
    verdict = {"holds": holds, "because": "seen <it> & \x1b[1mmore", "numbers": numbers}
    return {
        "experiment": "toy", "claim": "c", "status": status, "verdict": verdict, "duration_s": 1.5,
        "started": "2026-01-02T03:04:05.678+00:00", "folder": "runs/toy/x",
    }  # fmt: skip


def test_junit_tells_failures_from_errors() -> None:
    results = [outcome(True), outcome(False), outcome(None), outcome(None, "refused"), outcome(None, "aborted")]
    suite = ElementTree.fromstring(report.junit(results).encode())
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("testsuite", "5", "1", "3")
    kinds = [(each.tag, each.get("type")) for case in suite.iter("testcase") for each in case]
    assert kinds == [("failure", "fails"), ("error", "unknown"), ("error", "refused"), ("error", "aborted")]
    assert suite.get("time") == "7.5"


def test_junit_is_what_the_common_schema_wants() -> None:
    suite = ElementTree.fromstring(report.junit([outcome(False, gap_ms={"median": 3.5}, lost=0)]).encode())
    assert [child.tag for child in suite] == ["properties", "testcase", "system-out", "system-err"]
    assert set(suite.attrib) == {"name", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"}
    assert suite.get("timestamp") == "2026-01-02T03:04:05"
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
        "toy.gap_ms.median": "3.5",
        "toy.lost": "0",
    }
    assert all({"name", "classname", "time"} == set(case.attrib) for case in suite.iter("testcase"))


def test_a_run_that_breaks_off_is_in_the_junit_file_too(tmp_path: Path) -> None:
    file = tmp_path / "out.xml"
    with pytest.raises(SystemExit):
        runner.run_all([Toy(), Timed(SystemExit(130))], SteadyTestbed(), tmp_path, junit_file=file)  # type: ignore[arg-type]
    suite = ElementTree.parse(file).getroot()
    assert [(case.get("name"), len(case)) for case in suite.iter("testcase")] == [("toy", 0), ("timed", 1)]


# --- the evidence's file ---------------------------------------------------------------------------------------


def test_rows_are_one_line_each_and_read_back_the_same(tmp_path: Path) -> None:
    content = {"rows": [{"a": [1, 2]}, {"a": []}], "none": [], "text": "ä\n", "deep": {"x": [1, {"y": None}]}}
    folder.write_rows(opened(tmp_path), "some.json", content)
    assert folder.read(tmp_path, "some.json") == content
    assert len((tmp_path / "some.json").read_text().splitlines()) == 9
    folder.write_rows(opened(tmp_path), "some.json", {})
    assert folder.read(tmp_path, "some.json") == {}


def test_json_output_is_nothing_but_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner.run_all([Toy()], SteadyTestbed(), tmp_path, as_json=True)  # type: ignore[arg-type]
    result = json.loads(capsys.readouterr().out)
    assert (result["experiment"], result["folder"]) == ("toy", str(only_run(tmp_path)[2]))


def test_json_of_several_runs_is_one_list_whatever_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner.run_all([Toy(), Timed()], SteadyTestbed(), tmp_path, as_json=True)  # type: ignore[arg-type]
    assert [result["experiment"] for result in json.loads(capsys.readouterr().out)] == ["toy", "timed"]
    with pytest.raises(SystemExit):
        runner.run_all([Timed(SystemExit(130)), Toy()], SteadyTestbed(), tmp_path, as_json=True)  # type: ignore[arg-type]
    assert [result["status"] for result in json.loads(capsys.readouterr().out)] == ["aborted"]


def test_judging_leaves_the_evidence_as_it_is() -> None:
    evidence = {"found": [1], "machine": [BUSY], "steady": {"before": {"holds": True}, "after": {"holds": True}}}
    before = copy.deepcopy(evidence)
    judged(Timed(), evidence)
    assert evidence == before


@pytest.mark.parametrize("steady", [[], {"before": {}}, {"before": None}])
def test_circumstances_that_make_no_sense_are_unknown(steady: Any) -> None:
    assert judged(Toy(), {"found": [1], "steady": steady}).holds is None
