"""web_failover: which faults are tried, what is read from requests and timeline, and the judge with every evidence."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import web_remedies as benchmark
from experiments.engine.base import judged
from experiments.engine.verdict import Verdict
from experiments.instruments import load
from experiments.instruments.load import Outcome
from experiments.web_failover import balancer, measure, show
from experiments.web_failover.balancer import UnwatchedError
from experiments.web_failover.checks import account
from experiments.web_failover.evidence import WebFailoverEvidence
from experiments.web_failover.experiment import WebFailover
from experiments.web_failover.measure import FIXED, FULL, STEP, UnderLoad, at, portioned
from testbed.faults.scenarios import WEB, named
from topo import wait
from topo.errors import UsageError
from topo.plan import plan
from topo.profile import Profile

Evidence = dict[str, Any]
Change = Callable[[Evidence], None]
EXPERIMENT = WebFailover()
SERVERS = ("srv1", "srv2", "srv3")
PLAN = plan(Profile())
# two faults: at 100 s nginx of srv2 is killed, at 110 s srv3's cable is cut; each for 1 s, and back 0.5 s later
BEGAN = {"srv2": 100.0, "srv3": 110.0}
MARKS = (("fault", 0.0), ("fault in force", 0.01), ("heal", 1.0), ("healed", 1.2), ("rejoined", 1.5))
FAULTS = [
    {"fault": "kill srv2 nginx", "scenario": "kill-nginx", "symptom": "crash", "server": "srv2", "load": FIXED},
    {"fault": "cut srv3 fw3", "scenario": "cut", "symptom": "silent", "server": "srv3", "load": FULL},
]


def requests() -> list[Outcome]:
    """A hundred a second; who is gone answers nothing, and what is asked as its fault begins takes 150 ms longer."""
    done = []
    for position, number in enumerate([*range(500), *range(STEP, STEP + 500)]):
        time = (98.0 if number < STEP else 108.0) + (number % STEP) / 100
        gone = {server for server, began in BEGAN.items() if began - 0.001 <= time < began + 1.4}
        left = [server for server in SERVERS if server not in gone]
        late = any(began - 0.001 <= time < began + 0.005 for began in BEGAN.values())
        method = "GP"[position % 4 == 0]
        done.append(
            Outcome(
                number, time, {"G": "GET", "P": "POST"}[method], ok=True, server=left[position % len(left)],
                latency_s=0.16 if late else 0.01, message=7000 + position if method == "P" else None,
            )
        )  # fmt: skip
    return done


def good() -> Evidence:
    done = requests()
    posts = [each for each in done if each.method == "POST"]
    timeline: list[dict[str, Any]] = [
        {"time": 90.0, "what": "phase", "name": "capacity"},
        {"time": 91.0, "what": "fault", "fault": "off srv2"},
        {"time": 92.0, "what": "healed", "fault": "off srv2"},
        {"time": 97.0, "what": "phase", "name": "faults"},
    ]
    for about in FAULTS:
        began = BEGAN[about["server"]]
        timeline += [{"time": began + after, "what": what, "fault": about["fault"]} for what, after in MARKS]
    return {
        "schema": 1,
        "timeline": timeline,
        "primary": "srv1",
        "scheduled": 2,
        "patience_s": 3.0,
        "capacity": {"whole_per_s": 250.0, "away_per_s": 200.0, "clients": 16, "away_s": 2.0},
        "rates_per_s": {FIXED: 100.0, FULL: 160.0},
        "first_numbers": [0, STEP],
        "faults": FAULTS,
        "stopped": None,
        "changes": [
            {"time": began + after, "server": server, "up": up}
            for server, began in BEGAN.items()
            for after, up in ((0.03, False), (1.3, True))
        ],
        "looks": {"times": 500, "longest_gap_s": 0.03},
        "stored": {"number": [each.number for each in posts], "message": [each.message for each in posts]},
        "requests": load.columns(done, SERVERS),
    }


def parsed(raw: Evidence) -> WebFailoverEvidence:
    return WebFailoverEvidence.parse({"schema": 1, **raw})


def verdict(change: Change = lambda _: None) -> Verdict:
    evidence = json.loads(json.dumps(good()))
    change(evidence)
    return judged(EXPERIMENT, evidence)


def with_requests(alter: Callable[[list[Outcome]], None]) -> Change:
    def change(evidence: Evidence) -> None:
        done = load.rows(evidence["requests"])
        alter(done)
        evidence["requests"] = load.columns(done, SERVERS)

    return change


def put(column: str, position: int, character: str) -> Change:
    """One byte of the evidence changed."""

    def change(evidence: Evidence) -> None:
        text = evidence["requests"][column]
        evidence["requests"][column] = text[:position] + character + text[position + 1 :]

    return change


def test_nothing_failed_holds() -> None:
    found = verdict()
    assert found.holds is True, found.because
    numbers = found.numbers
    assert (numbers["faults"], numbers["requests"], numbers["failed"]) == (2, 1000, 0)
    assert (numbers["posts"], numbers["acknowledged"], numbers["executed_twice"]) == (250, 250, 0)
    assert numbers["detected_ms"]["kill-nginx"]["median"] == pytest.approx(30)
    assert numbers["added_ms"]["kill-nginx"]["max"] == pytest.approx(150)
    assert numbers["rejoin_ms"]["kill-nginx"]["median"] == pytest.approx(210, abs=15)
    assert (numbers["share"]["before"], numbers["share"]["during"]) == (pytest.approx(1 / 3, abs=0.02), 0)
    assert numbers["share"]["after"] == pytest.approx(1 / 3, abs=0.05)
    assert numbers["failed_by_fault"] == {"kill-nginx": 0, "cut": 0}
    assert set(numbers["added_ms_by_load"]) == {FIXED, FULL}
    assert numbers["target_crash_all_within_100_ms"] is False
    assert numbers["target_silent_all_within_300_ms"] is True
    assert (numbers["undetected"], numbers["false_alarms"]) == (0, 0)


def fail(number: int) -> Callable[[list[Outcome]], None]:
    def alter(done: list[Outcome]) -> None:
        done[number].ok, done[number].error = False, "no answer in 3 s"

    return alter


def write_twice(evidence: Evidence) -> None:
    evidence["stored"]["number"].append(evidence["stored"]["number"][3])
    evidence["stored"]["message"].append(9999)


def lose(evidence: Evidence) -> None:
    evidence["stored"]["message"][5] += 1


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (put("ok", 250, "0"), "of 1,000 requests 1 failed; most with kill-nginx on srv2: 1"),
        (put("ok", 20, "0"), "of 1,000 requests 1 failed"),  # before any fault
        (with_requests(fail(750)), "1 failed; most with cut on srv3: 1"),
        (write_twice, "1 executed twice"),
        (lose, "1 acknowledged and lost"),
    ],
)
def test_whatever_went_wrong_fails_the_claim(change: Change, because: str) -> None:
    found = verdict(change)
    assert found.holds is False
    assert because in found.because


def answer_by(server: str, when: float) -> Callable[[list[Outcome]], None]:
    def alter(done: list[Outcome]) -> None:
        next(each for each in done if each.time >= when).server = server

    return alter


def drop(start: float, stop: float) -> Callable[[list[Outcome]], None]:
    def alter(done: list[Outcome]) -> None:
        done[:] = [each for each in done if not start <= each.time < stop]

    return alter


def all_of(*changes: Change) -> Change:
    def change(evidence: Evidence) -> None:
        for each in changes:
            each(evidence)

    return change


def unnoticed(evidence: Evidence) -> None:
    """The balancer never gave srv3 up."""
    evidence["changes"] = [each for each in evidence["changes"] if each["server"] != "srv3"]


@with_requests
def overloaded(done: list[Outcome]) -> None:
    """What came due while srv3 was gone was answered when it was back."""
    for each in done:
        if 110.005 <= each.time < 111.0:
            each.latency_s = 1.2


def test_the_balancers_checks_are_witness_too() -> None:
    assert verdict(overloaded).holds is True


def never_answer(server: str) -> Callable[[list[Outcome]], None]:
    def alter(done: list[Outcome]) -> None:
        for each in done:
            each.server = "srv1" if each.server == server else each.server

    return alter


def only_reads(done: list[Outcome]) -> None:
    for each in done:
        each.method, each.message = "GET", None


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (with_requests(answer_by("srv2", 100.5)), "kill-nginx on srv2: the server went on answering"),
        (all_of(overloaded, unnoticed), "cut on srv3: too few answers to see that the server was gone"),
        (with_requests(never_answer("srv3")), "cut on srv3: too few answers"),
        (with_requests(drop(101.6, 101.605)), "1 requests without an outcome"),
        (with_requests(only_reads), "nothing was written"),
        (lambda evidence: evidence.update(scheduled=3), "2 of 3 faults were injected"),
        (lambda evidence: evidence.update(stopped="cut srv3 fw3: srv3 is asked again: not up"), "not up"),
        (lambda evidence: evidence.pop("requests"), "is missing"),
        (lambda evidence: evidence["faults"].pop(), "cannot be judged"),
        (lambda evidence: evidence["faults"][0].update(fault="kill srv1 nginx"), "where 'kill srv1 nginx' was chosen"),
        (lambda evidence: evidence["requests"].update(method="G"), "cannot be judged"),
    ],
)  # fmt: skip
def test_who_saw_nothing_knows_nothing(change: Change, because: str) -> None:
    found = verdict(change)
    assert found.holds is None
    assert because in found.because


def test_what_failed_is_said_before_what_is_unknown() -> None:
    def both(evidence: Evidence) -> None:
        with_requests(answer_by("srv2", 100.5))(evidence)
        put("ok", 250, "0")(evidence)

    assert verdict(both).holds is False


def test_an_alarm_without_a_fault_is_counted() -> None:
    found = verdict(lambda evidence: evidence["changes"].append({"time": 104.0, "server": "srv1", "up": False}))
    assert found.numbers["false_alarms"] == 1


def test_what_comes_due_while_healing_is_counted_apart() -> None:
    def slow(done: list[Outcome]) -> None:
        next(each for each in done if each.time >= 101.25).latency_s = 0.51

    numbers = verdict(with_requests(slow)).numbers
    assert numbers["added_ms"]["kill-nginx"]["max"] == pytest.approx(150)
    assert numbers["added_healing_ms"]["kill-nginx"]["max"] == pytest.approx(500)


def test_faults_of_other_phases_do_not_count() -> None:
    evidence = good()
    found = account(parsed(evidence), load.rows(evidence["requests"]))
    assert [each.scenario for each in found] == ["kill-nginx", "cut"]


def test_each_kind_comes_equally_often_under_both_loads() -> None:
    some = portioned(WEB, 48, (FIXED, FULL), PLAN, "srv1", random.Random(1))
    assert [name for name, _ in some] == [FIXED, FULL, FIXED, FULL]
    for _, portion in some:
        assert sorted(each.scenario.name for each in portion) == sorted(scenario.name for scenario in WEB)
    hit = {each.scenario.name: each.server for _, portion in some for each in portion if each.scenario.takes_host}
    assert set(hit.values()) <= {"srv2", "srv3"}
    assert {each.server for _, portion in some for each in portion} == set(SERVERS)


def test_a_few_faults_are_shared_between_the_loads() -> None:
    some = portioned(WEB, 12, (FIXED, FULL), PLAN, "srv1", random.Random(1))
    assert [(name, len(portion)) for name, portion in some] == [(FIXED, 6), (FULL, 6)]
    assert len(portioned(named("cut", WEB), 1, (FIXED, FULL), PLAN, "srv1", random.Random(1))) == 1
    some = portioned(named("cut,error500", WEB), 7, (FIXED, FULL), PLAN, "srv1", random.Random(1))
    assert [len(portion) for _, portion in some] == [2, 2, 2, 1]


def test_the_seed_decides_everything() -> None:
    first, again, other = (portioned(WEB, 30, (FIXED,), PLAN, "srv1", random.Random(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_kind_that_nobody_can_suffer_is_refused() -> None:
    alone = plan(Profile(servers=1))
    with pytest.raises(UsageError, match="--faults cut: it spares srv1, and there is no other server"):
        portioned(named("cut", WEB), 1, (FIXED,), alone, "srv1", random.Random(1))


def test_names_of_kinds() -> None:
    assert named("all", WEB) == list(WEB)
    assert [scenario.name for scenario in named("cut,kill-app", WEB)] == ["cut", "kill-app"]
    with pytest.raises(UsageError, match=r"--faults kil-app: no such fault; faults: all, .*did you mean kill-app"):
        named("cut,kil-app", WEB)


STAT = """# pxname,svname,qcur,scur,status
servers,srv1,0,3,UP
servers,srv2,0,0,{srv2}
servers,srv1-anyway,0,0,no check
servers,BACKEND,2,5,UP
"""


def test_the_balancer_s_changes_of_mind_are_noted_once() -> None:
    watch = balancer.Watch()
    for time, state in enumerate(["UP", "UP 1/2", "DOWN", "DOWN 1/2", "UP"]):
        watch.note(STAT.format(srv2=state), float(time))
    assert watch.changes == [
        {"time": 2.0, "server": "srv2", "up": False},
        {"time": 4.0, "server": "srv2", "up": True},
    ]
    assert watch.up == {"srv1": True, "srv2": True}
    assert (watch.waiting, watch.looks) == (7, 5)


class Administration:
    """HAProxy's socket, as long as it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(STAT.format(srv2="UP").encode())

    def die(self) -> None:
        self.path.unlink()
        self.socket.close()


@pytest.fixture
def administration(tmp_path: Path) -> Iterator[Administration]:
    administration = Administration(tmp_path / "admin.sock")
    yield administration
    administration.socket.close()


def watched(administration: Administration) -> Any:
    inside = SimpleNamespace(path=lambda _: administration.path)
    return balancer.watched(SimpleNamespace(plan=PLAN, inside=lambda _: inside))  # type: ignore[arg-type]


def test_a_balancer_that_is_not_watched_any_more_is_said_at_once(administration: Administration) -> None:
    with watched(administration) as watch:
        administration.die()
        wait.until(lambda: None if watch.problem else "watched", what="the end of watching", seconds=5)
        with pytest.raises(UnwatchedError, match="the balancer could not be watched any more: FileNotFoundError"):
            watch.wait_until_given_up("srv2", 4.0)
        with pytest.raises(UnwatchedError, match="could not be watched"):
            watch.wait_for("srv2")


def test_faults_are_not_gone_on_with_when_nothing_is_watched(
    administration: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "injected", lambda *_, **__: nullcontext())
    monkeypatch.setattr(measure, "BEFORE_SECONDS", 0.0)
    portion = [at(scenario, "srv2", PLAN) for scenario in named("cut,kill-app", WEB)]
    noted: list[dict[str, str]] = []
    with watched(administration) as watch:
        administration.die()
        wait.until(lambda: None if watch.problem else "watched", what="the end of watching", seconds=5)
        under_load = UnderLoad(None, watch, random.Random(1), lambda *_, **__: None)  # type: ignore[arg-type]
        stopped = under_load.inject(portion, "", noted)
    assert stopped is not None
    assert stopped.startswith("cut srv2 fw2: the balancer could not be watched any more")
    assert len(noted) == 1
    found = verdict(lambda evidence: evidence.update(stopped=stopped))
    assert (found.holds, found.because) == (None, stopped)


@pytest.mark.parametrize(
    ("line", "troubled"),
    [
        ('{"backend":"servers","status":200,"ending":"----"}', False),
        ('{"backend":"servers","status":200,"ending":"K---"}', False),
        ('{"backend":"servers","status":200,"ending":"SD--"}', True),
        ('{"backend":"servers","status":503,"ending":"sQ--"}', True),
        ('{"backend":"servers","status":500,"ending":"----"}', True),
        ('{"backend":"db-write","ending":"SD"}', False),
        ("Server servers/srv1 is DOWN", False),
    ],
)
def test_which_lines_of_the_balancer_are_kept(line: str, troubled: bool) -> None:
    assert balancer.ended_badly(line.encode()) is troubled


def test_a_run_is_shown() -> None:
    evidence = good()
    shown = show.table(parsed(evidence), verdict().numbers)
    assert "kill-nginx" in shown
    assert "1,000 requests, 0 failed\n250 posts, 0 executed twice, 0 acknowledged and lost" in shown
    html = EXPERIMENT.page(parsed(evidence))
    assert html.count("<td>cut</td>") == 2
    assert "spare srv1" in html
    assert [plot.title for plot in show.plots(parsed(evidence))] == [
        "Latency of each request, from the moment it was due",
        "What a fault added to the slowest request that met it",
        "Answers by each server",
    ]


def test_what_was_not_finished_is_shown_as_such() -> None:
    assert "Nothing was measured to its end" in EXPERIMENT.page(parsed({"timeline": []}))
    assert EXPERIMENT.show(parsed({}), Verdict(None, "aborted")) == "nothing was measured to its end"
    assert EXPERIMENT.plots(parsed({})) == ()


def struck(added_ms: float, failed: int, twice: int = 0) -> dict[str, float]:
    return {"added_ms": added_ms, "failed": failed, "twice": twice, "requests": 200}


def test_the_benchmark_s_series() -> None:
    rows = [{"fast": struck(80, 0), "default": struck(2990, 40)}] * 2
    rows += [{"fast": struck(150, 1, twice=1), "default": struck(2990, 50)}]
    found = benchmark.report(dict.fromkeys(benchmark.BOUNDS, rows))
    judged_ = {series.measure: series.judged("web_failover") for series in found.series}
    assert judged_["kill-app: added latency"]["met"] is True
    assert judged_["cut: added latency"]["ours"] == 80
    assert (judged_["cut: failed"]["ours"], judged_["cut: failed"]["reference"]) == (1, 130)
    assert judged_["cut: failed"]["met"] is False
    assert found.notes == (
        "web_failover: fast: of 1,800 requests 3 failed, 3 twice",
        "web_failover: default: of 1,800 requests 390 failed, 0 twice",
    )
