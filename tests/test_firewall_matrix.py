"""The judge of ``firewall_matrix``: good, bad and inconclusive evidence; a run's pairs and ports; what is shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from controllers.compile import FORWARD, POLICY, compile_flows
from controllers.flow import Flow, Goto
from controllers.policy import Rule, policy
from experiments.engine.base import judged
from experiments.firewall_matrix import answers, measure, ofproto, sweep
from experiments.firewall_matrix.answers import BEGINS, EVERYTHING, KINDS, total, within, without
from experiments.firewall_matrix.checks import Findings
from experiments.firewall_matrix.checks import findings as findings_of
from experiments.firewall_matrix.evidence import Answer, MatrixEvidence
from experiments.firewall_matrix.experiment import FirewallMatrix
from experiments.firewall_matrix.malformed import MUST, NEVER
from experiments.firewall_matrix.oracles import decided, stops
from experiments.firewall_matrix.sweep import FlowCounts, Sweep, Swept
from topo.errors import UsageError
from topo.plan import Host, Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

SEED = plan_of(Profile())
PAIRS, SECONDS = len(SEED.hosts) * (len(SEED.hosts) - 1), 56.0

Rules = tuple[Rule, ...]
Evidence = dict[str, Any]
EXPERIMENT = FirewallMatrix()
LEAK = Flow(
    "fw1", POLICY, 35000, 0, (("eth_type", 0x0800), ("ip_proto", 6), ("ipv4_src", "10.0.1.66"), ("tcp_dst", 22)), ()
)


def swept(
    plan: Plan, rules: Rules, src: Host, dst: Host, values: Answer = EVERYTHING, begins: Answer = BEGINS
) -> Swept:
    """What the packets do when the firewalls do what these rules say."""
    may = decided(rules, plan, src, dst, begins)
    arrived = {kind: within(may[kind], values.get(kind, ())) for kind in KINDS}
    stopped = stops(rules, plan, src, dst, values, begins)
    return Swept(src.name, dst.name, values, total(values), arrived, total(arrived), {}, stopped, (), 1, 0.4)


def traced(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Open vSwitch says what the proof says."""
    return [
        {
            "kind": kind,
            "low": low,
            "high": high,
            "value": low,
            "arrives": answers.covered(row["proof"][kind], low),
            "flow": "core: x",
        }
        for kind, low, high in ofproto.classes(row)
    ]


def attempt(name: str, may: str, arrived: int) -> dict[str, Any]:
    """A malformed packet from the attacker to the balancer, and whether it was seen there."""
    ends = {"src": "attacker", "dst": "lb", "port": 80}
    seen = {"arrived": {"lb": 1} if arrived else {}, "inconclusive": []}
    return {"packet": name, **ends, "may": may, "allowed": True, "why": "so", "sent": 1, "refused": None, **seen}


def evidence(
    plan: Plan,
    rules: Rules,
    *,
    real: Rules | None = None,
    flows: tuple[Flow, ...] | None = None,
    tracker: Answer = BEGINS,
    begins: Answer = BEGINS,
) -> Evidence:
    """The evidence of a run in which the switches have ``flows`` and packets do what ``real`` says.

    ``begins``: what the run takes for the beginning of a conversation; ``tracker``: what does begin one.
    """
    pairs = [(src, dst) for src in plan.hosts for dst in plan.hosts if src != dst]
    held = flows or compile_flows(plan, real or rules)
    accounts = [swept(plan, real or rules, *pair, begins=tracker) for pair in pairs]
    told = measure.rows(plan, rules, held, accounts, traced, begins)
    made = {
        "schema": 1,
        "hosts": {host.name: host.ip for host in plan.hosts},
        **told,
        "malformed": [attempt("a well-formed packet", MUST, 1), attempt("a tagged one", NEVER, 0)],
        "controls": [],
        "changed": False,
        "seconds": {"sweep": SECONDS},
        "controller": {"seconds": SECONDS, "most": 6000.0, "cpu_s": 0.9, "packet_ins": {"core": 1500, "fw1": 900}},
    }
    return plain(made)


def findings(found: Evidence) -> Findings:
    return findings_of(MatrixEvidence.parse(found))


def plain(made: Any) -> Evidence:
    """As it is read from evidence.json."""
    value: Evidence = json.loads(json.dumps(made))
    return value


@pytest.fixture(scope="module")
def good() -> str:
    plan = plan_of(Profile())
    return json.dumps(evidence(plan, policy(plan_of(Profile()))))


def pair(found: Evidence, src: str, dst: str) -> dict[str, Any]:
    row: dict[str, Any] = next(each for each in found["pairs"] if (each["src"], each["dst"]) == (src, dst))
    return row


def test_all_oracles_agree(good: str) -> None:
    verdict = judged(EXPERIMENT, json.loads(good))
    assert verdict.holds is True, verdict.because
    assert verdict.numbers["pairs"] == PAIRS
    assert verdict.numbers["probes"] == PAIRS * 131_584
    assert verdict.numbers["mismatches"] == verdict.numbers["leaks"] == verdict.numbers["over_blocks"] == 0
    assert verdict.numbers["probes_per_s"] == round(PAIRS * 131_584 / SECONDS)


#: as Linux 6.1's tracker was seen to decide about what trackers differ about
KERNEL = answers.begins({"tcp": ((0, 0),), "udp": ((0, 0),), "icmp": ((17, 17),), "ip": ()})


def test_the_oracles_agree_with_the_tracker_that_there_is(plan: Plan, rules: Rules) -> None:
    verdict = judged(EXPERIMENT, evidence(plan, rules, tracker=KERNEL, begins=KERNEL))
    assert verdict.holds is True, verdict.because
    # all six differ, and the sums are the same by chance: so only the protocols here
    protocols = {**BEGINS, "ip": KERNEL["ip"]}
    verdict = judged(EXPERIMENT, evidence(plan, rules, tracker=protocols))
    assert verdict.holds is None
    assert "by invalid on core, but what was counted is" in verdict.because


@pytest.mark.parametrize("tracker", [BEGINS, KERNEL], ids=["userspace", "kernel"])
def test_the_tracker_is_asked_what_begins_a_conversation(
    plan: Plan, rules: Rules, monkeypatch: pytest.MonkeyPatch, tracker: Answer
) -> None:
    def sent(_testbed: object, _run: object, sweeps: list[sweep.Sweep]) -> list[Swept]:
        assert all(total(one.values) == 1 for one in sweeps)
        return [swept(plan, rules, one.src, one.dst, one.values, tracker) for one in sweeps]

    monkeypatch.setattr(sweep, "sweep", sent)
    anything: Any = None
    assert sweep.detect_begins(anything, anything, plan.host("attacker"), plan.host("srv1")) == tracker
    assert sweep.detect_begins(anything, anything, plan.host("lb"), plan.host("srv1")) == tracker


def test_without_firewalls_the_leaks_are_named() -> None:
    off = Profile(firewall="off")
    plan = plan_of(off)
    verdict = judged(EXPERIMENT, evidence(plan, policy(plan_of(Profile())), real=policy(plan_of(off))))
    assert verdict.holds is False
    assert verdict.numbers["leaks"] == PAIRS
    found = findings(evidence(plan, policy(plan_of(Profile())), real=policy(plan_of(off))))
    line = next(each for each in found.wrong if each.startswith("attacker -> srv2 "))
    packets = "tcp/1-65535 udp/1-65535 icmp/8,13,15 ip/0,2-5,7-16,18-57,+1"
    assert line.startswith(f"attacker -> srv2 {packets}: arrives, the ")
    assert "the policy denies it (deny-rest); by fw2 table 2: priority=29999" in line
    assert len(found.wrong) < 120


def test_a_leak_in_the_flows_that_no_packet_met_is_one(plan: Plan, rules: Rules) -> None:
    flows = (*compile_flows(plan, rules), replace(LEAK, actions=(Goto(FORWARD),)))
    found = findings(evidence(plan, rules, flows=flows, real=rules))
    said = "proof: arrives, trace: arrives, wire: stopped, the policy denies it (deny-rest); by fw1 table 2"
    assert found.wrong[0].startswith(f"attacker -> srv1 tcp/22: {said}")
    assert found.numbers["mismatches"] == 1


def test_an_over_block_is_one(plan: Plan, rules: Rules) -> None:
    fewer = tuple(rule for rule in rules if rule.name != "dns-tcp")
    found = findings(evidence(plan, rules, real=fewer))
    assert found.wrong[0].startswith("client -> dns tcp/53: does not arrive, the policy allows it (dns-tcp); by core")
    assert (found.numbers["leaks"], found.numbers["over_blocks"]) == (0, len(SEED.names["internet"]) - 1)


Change = Callable[[Evidence], None]


def leak(found: Evidence) -> None:
    wire = pair(found, "attacker", "srv1")["wire"]
    wire["arrived"]["tcp"], wire["arrivals"] = [[22, 22]], 1
    wire["stopped"]["fw1"]["deny-rest"] -= 1


def over_block(found: Evidence) -> None:
    wire = pair(found, "lb", "srv1")["wire"]
    wire["arrived"]["tcp"], wire["arrivals"] = [[3306, 3306]], 1
    wire["stopped"]["fw1"]["deny-rest"] += 1


def stray(found: Evidence) -> None:
    pair(found, "client", "lb")["wire"]["strays"] = {"attacker": 2}


def traced_otherwise(found: Evidence) -> None:
    row = next(each for each in pair(found, "client", "dns")["trace"] if (each["kind"], each["low"]) == ("udp", 54))
    row |= {"arrives": True, "flow": "core: hole: udp, priority 7"}


def malformed_arrived(found: Evidence) -> None:
    found["malformed"].append(attempt("a forged one", NEVER, 1))


def proved_otherwise(found: Evidence) -> None:
    found["proof"]["differences"] = ["attacker -> lb tcp/443 (as if from client): arrives, though ..."]


def unmetered(found: Evidence) -> None:
    found["controller"]["packet_ins"]["fw1"] += 4501


def controller_died(found: Evidence) -> None:
    found["controller"] |= {"cpu_s": None, "packet_ins": None}


def leak_although_lost(found: Evidence) -> None:
    leak(found)
    pair(found, "attacker", "srv1")["wire"]["probes"] += 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (leak, "attacker -> srv1 tcp/22: proof: stopped, trace: stopped, wire: arrives, the policy denies it"),
        (over_block, "lb -> srv1 tcp/80: proof: arrives, trace: arrives, wire: stopped, the policy allows"),
        (stray, "client -> lb: 2 packets arrive at attacker, for whom they are not"),
        (
            traced_otherwise,
            "client -> dns udp/54-65535: proof: stopped, trace: arrives, wire: stopped, the policy denies",
        ),
        (proved_otherwise, "attacker -> lb tcp/443 (as if from client): arrives"),
        (malformed_arrived, "attacker -> lb a forged one: it may never arrive: so"),
        (leak_although_lost, "attacker -> srv1 tcp/22: "),
        (unmetered, "the controller was sent 6901 packets in 56 s; meters let 6000 pass"),
    ],
)
def test_what_is_wrong_fails(good: str, change: Change, said: str) -> None:
    found = json.loads(good)
    change(found)
    verdict = judged(EXPERIMENT, found)
    assert verdict.holds is False
    assert said in verdict.because


def lost_probes(found: Evidence) -> None:
    pair(found, "attacker", "srv1")["wire"]["stopped"]["fw1"]["deny-rest"] -= 3


def foreign_packets(found: Evidence) -> None:
    pair(found, "attacker", "srv1")["wire"]["stopped"]["fw1"]["invalid"] += 2


def lossy_capture(found: Evidence) -> None:
    pair(found, "client", "srv3")["wire"]["inconclusive"] = ["srv3"]


def lost_allowed(found: Evidence) -> None:
    wire = pair(found, "lb", "srv1")["wire"]
    wire["arrived"]["tcp"], wire["arrivals"] = [], 0


def stopped_by_another(found: Evidence) -> None:
    wire = pair(found, "attacker", "srv1")["wire"]
    wire["stopped"] = {"core": {"spoofed": sum(wire["stopped"]["fw1"].values())}}


def stopped_elsewhere(found: Evidence) -> None:
    wire = pair(found, "srv2", "srv1")["wire"]
    wire["stopped"] = {"fw1": wire["stopped"]["fw2"]}


def no_control(found: Evidence) -> None:
    found["pairs"] = [each for each in found["pairs"] if each["src"] != "attacker" or each["dst"] == "srv1"]


def fewer_pairs(found: Evidence) -> None:
    found["pairs"] = [each for each in found["pairs"] if each["dst"] != "dns"]


def fewer_ports(found: Evidence) -> None:
    wire = pair(found, "attacker", "srv1")["wire"]
    wire["values"]["tcp"] = [[0, 65534]]
    wire["probes"] -= 1
    stops = {"fw1": {**wire["stopped"]["fw1"], "deny-rest": wire["stopped"]["fw1"]["deny-rest"] - 1}}
    wire["stopped"] = pair(found, "attacker", "srv1")["stops"] = stops


def changed_flows(found: Evidence) -> None:
    found["changed"] = True


def untraced(found: Evidence) -> None:
    pair(found, "attacker", "srv1")["trace"] = []


def well_formed_unseen(found: Evidence) -> None:
    found["malformed"][0]["arrived"] = {}


def nothing_at_all(found: Evidence) -> None:
    found["pairs"] = []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lost_probes, "attacker -> srv1: 3 probes were lost of 131584"),
        (foreign_packets, "attacker -> srv1: 2 packets more than were sent were counted"),
        (lossy_capture, "client -> srv3: the captures of srv3 lost packets"),
        (lost_allowed, "lb -> srv1: 2 probes were lost"),
        (stopped_by_another, "but what was counted is 131584 by spoofed on core"),
        (stopped_elsewhere, "by deny-rest on fw1"),
        (no_control, "attacker reached nothing that it may reach"),
        (fewer_pairs, f"only {PAIRS - len(SEED.hosts) + 1} of {PAIRS} pairs"),
        (fewer_ports, "not all ports were looked at"),
        (changed_flows, "the flows changed"),
        (untraced, "attacker -> srv1: Open vSwitch was not asked"),
        (controller_died, "the controller did not tell how many packets it was sent"),
        (well_formed_unseen, "malformed packets: attacker -> lb: a well-formed packet did not arrive"),
        (nothing_at_all, "no pair was looked at"),
    ],
)
def test_what_was_not_seen_is_unknown(good: str, change: Change, said: str) -> None:
    found = json.loads(good)
    change(found)
    verdict = judged(EXPERIMENT, found)
    assert verdict.holds is None
    assert said in verdict.because


def test_a_control_of_its_own_stands_for_a_source(good: str, plan: Plan, rules: Rules) -> None:
    found = json.loads(good)
    no_control(found)
    (only,) = measure.controls(plan, rules, [(plan.host("attacker"), plan.host("srv1"))], EVERYTHING)
    assert (only.src.name, only.dst.name, answers.shown(only.values)) == ("attacker", "dns", "tcp/53")
    reached = swept(plan, rules, only.src, only.dst, only.values)
    found["controls"] = [plain(measure.control(plan, rules, reached))]
    assert not any("attacker reached" in each for each in findings(found).doubts)
    found["controls"][0]["wire"]["arrived"]["tcp"] = []
    assert any("attacker reached" in each for each in findings(found).doubts)


def test_no_control_is_needed_where_allowed_packets_are_sent_anyway(plan: Plan, rules: Rules) -> None:
    pairs = [(plan.host("attacker"), plan.host("lb")), (plan.host("attacker"), plan.host("srv1"))]
    assert measure.controls(plan, rules, pairs, EVERYTHING) == []
    assert len(measure.controls(plan, rules, pairs, {"tcp": ((22, 22),)})) == 1


def test_what_may_be_asked(plan: Plan) -> None:
    assert len(measure.pairs_named("all", plan)) == PAIRS
    assert [f"{a.name}:{b.name}" for a, b in measure.pairs_named("internet:primary,mon:dns,client:srv1", plan)] == [
        *(f"{visitor.name}:srv1" for visitor in plan.names["internet"]),
        "mon:dns",
    ]
    assert measure.values_named("all") == EVERYTHING
    assert measure.values_named("22,80,79,3000-3100")["udp"] == ((22, 22), (79, 80), (3000, 3100))
    for wrong in ("attacker", "attacker:srv9", "lb:lb", "a:b:c"):
        with pytest.raises(UsageError, match="--pairs"):
            measure.pairs_named(wrong, plan)
    for wrong in ("x", "80-22", "65536", "", "1-2-3"):
        with pytest.raises(UsageError, match="--ports"):
            measure.values_named(wrong)


def test_the_matrix_shows_what_is_open_and_what_is_wrong(good: str) -> None:
    found = json.loads(good)
    leak(found)
    console = Console(width=140, record=True)
    with console.capture() as captured:
        console.print(EXPERIMENT.show(MatrixEvidence.parse(found), judged(EXPERIMENT, found)))
    text = captured.get()
    assert "tcp 80,443" in text
    assert "attacker -> srv1 tcp/22: proof: stopped, trace: stopped, wire: arrives" in text
    html = EXPERIMENT.page(MatrixEvidence.parse(found))
    assert '<td class="bad">tcp 22</td>' in html
    assert "tcp 80,443<br>icmp 8" in html
    (plot,) = EXPERIMENT.plots(MatrixEvidence.parse(found))
    assert {each.label for each in plot.series} == {"deny-rest", "invalid"}


def test_values_that_were_not_sent_are_no_mismatch(good: str) -> None:
    found = json.loads(good)
    wire = pair(found, "lb", "srv1")["wire"]
    wire["values"] = {kind: [list(span) for span in without(EVERYTHING[kind], ((80, 80),))] for kind in KINDS}
    wire["arrived"]["tcp"] = [[3306, 3306]]
    assert findings(found).mismatches == ()


def test_of_protocols_with_fields_of_their_own_no_bare_entry_is_ended() -> None:
    """Open vSwitch 3.5 dies of it."""
    plan = plan_of(Profile())
    asked = sweep.tuples(
        Sweep(plan.host("srv1"), plan.host("srv2"), EVERYTHING), FlowCounts(begun=Counter({"ip": 1, "tcp": 1}))
    )
    bare = {int(number[1]) for words in asked if (number := re.search(r"ct_nw_proto=(\d+)$", words))}
    assert {47, 33, 132, 136, 255} <= bare
    assert not {1, 6, 17, 58} & bare
