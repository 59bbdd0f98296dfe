"""Tampering: the redirection's flows, the proxy that rewrites, and the judge on good, bad and blind evidence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controllers.compile import OWN_COOKIES, overlay_flows
from controllers.flow import Output, SetField
from controllers.overlay import redirect
from experiments.engine import report, savedrun
from experiments.engine.base import judged
from experiments.engine.savedrun import SavedRun
from experiments.engine.verdict import Verdict
from experiments.tls_tampering.evidence import TamperingEvidence
from experiments.tls_tampering.experiment import TlsTampering
from experiments.tls_tampering.impostor import tampered
from experiments.tls_tampering.measure import is_alarm
from topo.plan import Plan

LINE = "New account for payments: 0123"
DOWN = (
    'Server servers/srv1 is DOWN, reason: Layer6 invalid response, info: "SSL handshake failure", check duration: 5ms.'
)


def answer(at: float, server: str | None, **others: Any) -> dict[str, Any]:
    told = {"status": 200, "request_id": f"id-{at}", "changed": False, "error": None, "ms": 10.0}
    return {"time": at, "server": server, **told, **others}


@pytest.fixture
def evidence() -> dict[str, Any]:
    """A balancer that refuses the impostor: asked from 100 on, redirected from 102 to 110."""
    return copy.deepcopy(
        {
            "tls": "reencrypt",
            "server": "srv1",
            "servers": ["srv1", "srv2"],
            "line": LINE,
            "asked": [
                *(answer(100.0 + n / 10, f"srv{1 + n % 2}") for n in range(20)),
                *(answer(102.0 + n / 10, "srv2") for n in range(80)),
                *(answer(110.1 + n / 10, f"srv{1 + n % 2}") for n in range(10)),
            ],
            "redirect": {"from": 102.0, "to": 110.0, "packets": 480, "healed": True},
            "impostor": [
                {"what": "listening", "why": None, "times": 1},
                {"what": "connection", "why": None, "times": 45},
                {"what": "refused", "why": "TLSV1_ALERT_UNKNOWN_CA", "times": 45},
            ],
            "alarms": [{"time": 106.5, "line": DOWN}],
        }
    )


def judge(evidence: dict[str, Any]) -> Verdict:
    return TlsTampering().judge(TamperingEvidence.parse(evidence))


def change(evidence: dict[str, Any], *numbers: int) -> None:
    """Visitors read what was added."""
    for number in numbers:
        evidence["asked"][number].update(server="srv1", changed=True)
    evidence["alarms"] = []


def refused_by_visitors(evidence: dict[str, Any]) -> None:
    evidence["alarms"] = []
    evidence["asked"][30].update(error="CERTIFICATE_VERIFY_FAILED", server=None, status=None)


def test_a_refused_connection_and_an_alarm_hold(evidence: dict[str, Any]) -> None:
    verdict = judge(evidence)
    assert (verdict.holds, verdict.numbers["changed"]) == (True, 0)
    assert verdict.because == "0 of 80 answers were changed: refused by the balancer; 0 failed, 80 answered"
    assert verdict.numbers["noticed_after_s"] == 4.5
    assert verdict.numbers["before"] == {"srv1": 10, "srv2": 10}


def test_visitors_who_refuse_notice_as_well(evidence: dict[str, Any]) -> None:
    refused_by_visitors(evidence)
    verdict = judge(evidence)
    assert (verdict.holds, verdict.numbers["certificate_errors"], verdict.numbers["failed"]) == (True, 1, 1)
    assert "refused by the visitors; 1 failed, 79 answered" in verdict.because


def test_a_changed_answer_fails_whatever_the_log_says(evidence: dict[str, Any]) -> None:
    alarms = list(evidence["alarms"])
    change(evidence, 25, 26)
    evidence["alarms"] = alarms
    verdict = judge(evidence)
    assert (verdict.holds, verdict.numbers["changed"]) == (False, 2)
    assert verdict.because == "2 of 80 answers were changed on their way from srv1; the first: request id-102.5"


def test_a_changed_answer_that_was_late_counts(evidence: dict[str, Any]) -> None:
    change(evidence, 101)
    assert judge(evidence).holds is False


BLINDFOLDS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("moved nothing", lambda e: e["redirect"].update(packets=0)),
    ("moved nothing", lambda e: e.update(impostor=e["impostor"][:1])),
    ("srv1 answered no request before", lambda e: [row.update(server="srv2") for row in e["asked"]]),
    ("before anybody could", lambda e: e["asked"][0].update(changed=True)),
    ("no request was answered meanwhile", lambda e: [row.update(server=None, error="x") for row in e["asked"][20:100]]),
    ("no request was answered meanwhile", lambda e: e.update(asked=e["asked"][:20])),
    ("nothing was noticed", lambda e: e.update(alarms=[])),
    ("nothing was noticed", lambda e: e["alarms"][0].update(time=101.0)),
    ("nothing was noticed", lambda e: e["alarms"][0].update(line=DOWN.replace("Layer6", "Layer4"))),
    ("cannot be judged", lambda e: e.pop("asked")),
]


@pytest.mark.parametrize(("because", "blindfold"), BLINDFOLDS)
def test_a_blind_probe_proves_nothing(
    evidence: dict[str, Any], because: str, blindfold: Callable[[dict[str, Any]], Any]
) -> None:
    blindfold(evidence)
    verdict = judged(TlsTampering(), evidence)
    assert verdict.holds is None
    assert because in verdict.because


def half_a_run(folder: Path) -> SavedRun:
    (folder / "result.json").write_text('{"experiment": "tls_tampering", "profile": {}, "status": "aborted"}')
    (folder / "evidence.json").write_text(json.dumps({"schema": TamperingEvidence.SCHEMA, "server": "srv1"}))
    return savedrun.opened(folder, lambda _: TlsTampering())


def test_what_is_shown_escapes_and_names_the_request(evidence: dict[str, Any], tmp_path: Path) -> None:
    change(evidence, 25)
    evidence["line"] = "<script>"
    experiment = TlsTampering()
    parsed = TamperingEvidence.parse(evidence)
    shown, page = str(experiment.show(parsed, experiment.judge(parsed))), experiment.page(parsed)
    assert "id-102.5" in shown
    assert "id-102.5" in page
    assert "<script>" not in page
    assert "not enough" in report._page(half_a_run(tmp_path))


def test_the_plot_has_a_colour_for_each_fate(evidence: dict[str, Any], tmp_path: Path) -> None:
    refused_by_visitors(evidence)
    change(evidence, 25)
    (plot,) = TlsTampering().plots(TamperingEvidence.parse(evidence))
    assert [series.label for series in plot.series] == ["changed", "failed", "from srv1", "from srv2"]
    assert [mark.x for mark in plot.marks] == [2.0, 10.0]
    assert half_a_run(tmp_path).plots() == ()


def test_the_redirection_has_four_flows_and_no_rules_cookie(plan: Plan) -> None:
    lb, srv, own = plan.host("lb"), plan.host("srv1"), plan.host("attacker")
    there, asking, answered, back = overlay_flows(plan, redirect(plan, "srv1", 443, "attacker", 90))
    assert {flow.cookie for flow in (there, back, asking, answered)} == {OWN_COOKIES["redirect"]}
    assert dict(there.match) == {
        "eth_type": 0x0800,
        "ip_proto": 6,
        "tcp_dst": 443,
        "in_port": 1,
        "ipv4_src": lb.ip,
        "ipv4_dst": srv.ip,
    }
    assert there.actions == (SetField("eth_dst", own.mac), SetField("ipv4_dst", own.ip), Output(90))
    assert dict(asking.match).items() >= {"in_port": 90, "ipv4_dst": srv.ip, "tcp_dst": 443}.items()
    assert asking.actions == (SetField("eth_src", lb.mac), SetField("ipv4_src", lb.ip), Output(2))
    assert dict(back.match).items() >= {"in_port": 90, "ipv4_dst": lb.ip, "tcp_src": 443}.items()
    assert back.actions == (SetField("eth_src", srv.mac), SetField("ipv4_src", srv.ip), Output(1))
    assert dict(answered.match).items() >= {"in_port": 2, "ipv4_src": srv.ip, "tcp_src": 443}.items()
    assert answered.actions == there.actions


def test_the_line_is_added_where_people_read() -> None:
    assert tampered(b"<main>a</main>z", "LINE") == b'<main>a<p class="notice">LINE</p></main>z'
    assert b"LINE" in tampered(b"a page without a place for it", "LINE")


def test_an_alarm_is_about_the_server_and_no_request() -> None:
    assert is_alarm(DOWN, "srv1")
    assert not is_alarm(DOWN, "srv2")
    assert not is_alarm('{"backend":"servers/srv1 "}', "srv1")
    assert not is_alarm(f"[WARNING]  (7) : {DOWN}", "srv1")
