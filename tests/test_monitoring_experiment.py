"""monitoring: what is compared with what, and the judge with good, bad and inconclusive evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import monitoring_overhead
from experiments.engine.base import judged
from experiments.engine.drawing import png
from experiments.instruments.load import Outcome
from experiments.monitoring import checks, processortime, show
from experiments.monitoring.evidence import MonitoringEvidence
from experiments.monitoring.expectations import expectations
from experiments.monitoring.experiment import Monitoring
from experiments.monitoring.measure import answered
from experiments.monitoring.sums import counted, longest_step, seconds_of, whiles
from services import deployment
from services.secrets import fresh
from testbed.faults.injection import meant
from testbed.faults.registry import KINDS
from testbed.faults.selection import PRIMARY
from topo import wait
from topo.errors import RefusedError
from topo.plan import plan as plan_of
from topo.profile import Profile

GOOD: dict[str, Any] = {
    "schema": 1,
    "rate": 60.0,
    "clean": [100.0, 120.0],
    "counts": [{"host": "srv1", "path": "/", "status": "200", "truth": 400, "told": 400.0}],
    "seconds": [{"host": "srv1", "time": 101.0 + n, "seconds": 1.0, "truth": 20, "told": 21.0} for n in range(10)],
    "processor": [{"host": "dns", "truth_s": 4.0, "told_s": 3.95}],
    "steps": [{"host": "srv1", "longest_s": 1.01, "time": 110.0}],
    "logs": [{"service": "web", "written": 400, "stored": 400, "copies": 1}],
    "faults": [
        {
            "fault": "cut srv3 fw3",
            "alerts": ["HostSilent"],
            "hosts": ["srv3"],
            "began": 130.0,
            "late_s": 2.0,
            "fired": 131.6,
            "alert": "HostSilent",
        }
    ],
    "firing": [{"alert": "HostSilent", "host": "srv3", "began": 131.5, "ended": 133.0}],
    "away": [
        {
            "fault": "mon off",
            "seconds": 20.0,
            "lines": 900,
            "lost": 0,
            "allowed": 0,
            "longest_step_s": 1.0,
            "host": "srv1",
        },
    ],
    "scheduled": 1,
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def row(name: str, **changes: Any) -> dict[str, Any]:
    """The good evidence with the first row of a list changed."""
    first, *rest = GOOD[name]
    return changed(**{name: [{**first, **changes}, *rest]})


def test_the_truth_told_in_time_holds() -> None:
    verdict = judged(Monitoring(), GOOD)
    assert verdict.holds is True
    assert verdict.because == "all of 1 faults were told within 1.6 s"
    assert verdict.numbers["lines_lost"] == 0


@pytest.mark.parametrize(
    ("evidence", "because"),
    [
        (row("faults", fired=None), "cut srv3 fw3: no HostSilent at srv3"),
        (row("faults", fired=132.1), "cut srv3 fw3: its alert came after 2.1 s"),
        (row("firing", began=119.0, ended=121.0), "HostSilent of srv3 without a cause"),
        (row("counts", told=401.0), "srv1: 401 requests for / with status 200, where there were 400"),
        (row("seconds", told=23.0), "srv1: 23 requests in 1.00 s, where there were 20"),
        (row("processor", told_s=3.7), "dns: 3.70 s of processor time, where it took 4.00 s"),
        (row("steps", longest_s=1.3), "srv1: 1.30 s without a sample"),
        (row("logs", stored=399), "web: 1 log lines lost"),
        (row("away", lost=1), "mon off: 1 of 900 log lines lost"),
        (row("away", longest_step_s=3.2), "mon off: 3.2 s without a sample of srv1"),
    ],
)
def test_what_is_late_missing_or_false_fails(evidence: dict[str, Any], because: str) -> None:
    verdict = judged(Monitoring(), evidence)
    assert (verdict.holds, verdict.because) == (False, because)


@pytest.mark.parametrize(
    "evidence",
    [
        changed(clean=None),
        changed(counts=[]),
        changed(faults=[], scheduled=0),
        changed(scheduled=2),
        changed(stopped="kill srv3 web: not healed"),
        changed(seconds=GOOD["seconds"][:2]),
        changed(processor=[]),
        changed(steps=[]),
        row("logs", written=0, stored=0),
    ],
)
def test_what_was_not_measured_is_unknown(evidence: dict[str, Any]) -> None:
    assert judged(Monitoring(), evidence).holds is None


def test_a_killed_shipper_may_lose_three_lines() -> None:
    assert judged(Monitoring(), row("away", lost=3, allowed=3)).holds is True
    assert judged(Monitoring(), row("away", lost=4, allowed=3)).holds is False


def test_it_is_shown_and_drawn() -> None:
    evidence = MonitoringEvidence.parse(GOOD)
    shown = show.show(evidence, checks.judge(evidence))
    assert "cut srv3 fw3  HostSilent  srv3  1.60" in shown
    assert "log lines: 400 written, 400 stored, 1 copies" in shown
    assert "<td>HostSilent</td>" in show.page(evidence)
    assert [plot.title for plot in show.plots(evidence)] == ["From fault to alert"]
    assert all(png(plot).startswith(b"\x89PNG") for plot in show.plots(evidence))


# --- comparisons ---------------------------------------------------------------------------------------------------


def outcome(number: int, server: str, method: str = "GET", at: float = 0.0) -> Outcome:
    return Outcome(number, at, method, ok=True, status=200 if method == "GET" else 201, server=server)


def test_requests_are_compared_by_server_path_and_status() -> None:
    done = [outcome(1, "srv1"), outcome(2, "srv1"), outcome(3, "srv2", "POST")]
    before = {("srv1", "/", "200"): 10.0, ("srv3", "/", "200"): 4.0}
    after = {("srv1", "/", "200"): 12.0, ("srv2", "/messages", "201"): 1.0, ("srv3", "/", "200"): 5.0}
    assert [(row["host"], row["truth"], row["told"]) for row in counted(done, before, after)] == [
        ("srv1", 2, 2.0),
        ("srv2", 1, 1.0),
        ("srv3", 0, 1.0),
    ]


def test_a_series_that_begins_meanwhile_counts_from_nothing() -> None:
    found = [
        ({"host": "srv1", "path": "/"}, [(1.0, 5.0), (2.0, 7.0), (3.0, 8.0)]),
        ({"host": "srv1", "path": "/messages"}, [(3.0, 1.0)]),
    ]
    done = [
        outcome(1, "srv1", at=1.5),
        outcome(2, "srv1", at=1.6),
        outcome(3, "srv1", at=2.9),
        outcome(4, "srv2", at=1),
    ]
    assert [(row["time"], row["truth"], row["told"]) for row in seconds_of(done, found)] == [
        (2.0, 2, 2.0),
        (3.0, 1, 2.0),
    ]


def test_steps_whiles_and_values_between_samples() -> None:
    assert longest_step("a", [1.0, 2.0, 4.5, 5.0], 0.5, 5.2) == {"host": "a", "longest_s": 2.5, "time": 4.5}
    assert longest_step("a", [], 0.5, 5.5)["longest_s"] == 5.0
    assert whiles([1.0, 1.5, 2.0, 6.0]) == [(1.0, 2.0), (6.0, 6.0)]
    assert processortime.at([(1.0, 10.0), (2.0, 12.0)], 1.5) == 11.0
    assert processortime.at([(1.0, 10.0), (2.0, 12.0)], 2.5) != processortime.at(
        [(1.0, 10.0)], 1.0
    )  # nan equals nothing


@pytest.mark.parametrize("db", ["single", "async", "semisync", "galera"])
def test_every_fault_of_the_schedule_is_possible(db: str) -> None:
    plan = plan_of(Profile(db=db))
    services = deployment.host_services(plan, plan.profile, fresh(plan, plan.profile))
    primary = plan.primary.name
    for each in expectations(plan):
        if each.fault.kind != "stop-controller":
            meant(replace(each.fault, target=each.fault.target.replace(PRIMARY, primary)), plan, services)
        assert each.alerts


def test_the_schedule_has_the_kinds_that_a_monitoring_can_see() -> None:
    tried = {each.fault.kind for db in ("single", "semisync") for each in expectations(plan_of(Profile(db=db)))}
    assert tried <= set(KINDS)
    # a hand-over that goes well is no trouble: no alert is right for it
    assert set(KINDS) - tried == {"planned"}


def test_a_prometheus_that_does_not_answer_in_time_is_asked_again() -> None:
    asked = 0

    def look() -> str | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RefusedError("mon's Prometheus does not answer: timed out")
        return None

    wait.until(answered(look), what="no alert", seconds=5)
    assert asked == 2
    assert answered(lambda: "DiskFull of srv3")() == "DiskFull of srv3"


def test_the_cost_is_judged_by_its_ratio() -> None:
    value = {"dynamic page": 95.0, "static file": 100.0, "steady": 3.0, "memory": 900.0}
    rows = [{"on": value, "off": {**value, "dynamic page": 100.0}}] * 5
    judged_rows = {each.measure: each.judged("x") for each in monitoring_overhead.report(rows).series}
    assert judged_rows["dynamic page"]["met"] is True
    worse = [{"on": {**value, "dynamic page": 90.0}, "off": {**value, "dynamic page": 100.0}}] * 5
    assert monitoring_overhead.report(worse).series[0].judged("x")["met"] is False
