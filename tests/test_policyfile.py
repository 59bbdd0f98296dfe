"""Policies as text: there and back, every mistake with its place, what is said in vain, what would change."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_proof import PLAN, some_rules

from controllers.compile import compile_flows
from controllers.policy import DENY_REST, FIREWALLS_OFF, Rule, decide, policy
from controllers.policyfile import ICMP_TYPES, SERVICES, parse, render
from controllers.verify.advice import advice, unused
from controllers.verify.change import changes, grouped
from topo.errors import PolicyError
from topo.plan import Plan
from topo.plan import plan as plan_of
from topo.profile import Profile

Rules = tuple[Rule, ...]
FULL = plan_of(Profile())
FIREWALLS_ON = policy(plan_of(Profile()))


def read(text: str) -> Rules:
    return parse(text, "my.policy", FULL)


@pytest.mark.parametrize("rules", [FIREWALLS_ON, FIREWALLS_OFF, (DENY_REST,)], ids=["on", "off", "nothing"])
def test_the_shipped_policies_come_back_equal(rules: Rules) -> None:
    assert read(render(rules)) == rules


@given(rules=some_rules())
def test_any_policy_comes_back_meaning_the_same(rules: Rules) -> None:
    back = parse(render(rules), "my.policy", PLAN)
    assert [(r.name, r.src, r.dst, r.proto, r.action, r.why) for r in back] == [
        (r.name, r.src, r.dst, r.proto, r.action, r.why) for r in rules
    ]
    assert [r.ports for r in back] == [r.ports for r in rules]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (
            "allow tcp internet -> lb port 443  # site: visitors",
            Rule("site", "internet", "lb", "tcp", 443, "allow", "visitors"),
        ),
        ("allow tcp client->lb", Rule("line-1", "client", "lb", "tcp", None, "allow", "no reason is given")),
        (
            "deny udp client, dns -> any port ntp,1000-2000, 2001 # late at night",
            Rule("line-1", "client,dns", "any", "udp", ((123, 123), (1000, 2001)), "deny", "late at night"),
        ),
        (
            "allow icmp mon -> any type echo-request, 13-14 # p: q: r",
            Rule("p", "mon", "any", "icmp", ((8, 8), (13, 14)), "allow", "q: r"),
        ),
        (
            "deny any attacker -> servers",
            Rule("line-1", "attacker", "servers", "any", None, "deny", "no reason is given"),
        ),
    ],
)
def test_a_line(line: str, rule: Rule) -> None:
    assert read(line) == (rule, DENY_REST)


def test_groups_empty_lines_and_the_denial_itself() -> None:
    text = "# mine\n\ngroup pair = srv1, srv2\ngroup trio = pair, srv3\nallow tcp lb -> trio port http\n"
    rule, rest = read(text + "deny any any -> any # deny-rest: what no rule allows is refused, in both directions\n")
    assert (rule.dst, rule.port, rest) == ("srv1,srv2,srv3", 80, DENY_REST)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("allow tcp internet -> srv22 port 443", ["23: srv22: no such host, zone or group; did you mean srv2?"]),
        ("alow tcp internet -> lb", ["1: alow: no such action; did you mean allow?"]),
        ("allow tpc internet -> lb", ["7: tpc: no such protocol; did you mean tcp?"]),
        ("allow tcp internet lb", ["20: -> was expected here"]),
        ("allow", ["6: the protocol is missing: tcp, udp, icmp, any"]),
        ("allow tcp internet ->", ["22: the destination is missing: a host, a zone, a group or any"]),
        ("allow tcp internet -> lb port", ["30: the port is missing"]),
        ("allow tcp dns -> lb port 70000", ["26: 70000: a port is at most 65535"]),
        ("allow tcp dns -> lb port 1, 9-1", ["29: 9-1: the range ends before it begins"]),
        ("allow icmp mon -> lb type 256", ["27: 256: a type is at most 255"]),
        ("allow any mon -> lb port 5", ["21: port: any has none; say tcp, udp or icmp"]),
        ("allow icmp mon -> lb port 8", ["22: port: icmp has a type"]),
        ("allow tcp mon -> lb port 8 9", ["28: 9: nothing more was expected here"]),
        ("allow tcp mon -> lb port mysqll", ["26: mysqll: no such port; did you mean mysql?"]),
        ("group lb = srv1", ["7: lb: is a name already"]),
        ("group 9 = srv1", ["7: 9: a group's name was expected here"]),
        ("group web = srv1", ["7: web: is a name already"]),
        ("group two srv1", ["11: = was expected here"]),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(line: str, said: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        read(f"# a comment\n{line}\n")
    assert caught.value.detail.splitlines() == [f"my.policy:2:{each}" for each in said]


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(PolicyError, match=r"my\.policy: 3 mistakes") as caught:
        read("allow tcp x -> lb # a: b\nallow tcp dns -> lb # a: c\nallow tcp lb -> lb port x\n")
    assert [line.split(":")[1:3] for line in caught.value.detail.splitlines()] == [
        ["1", "11"],
        ["2", "23"],
        ["3", "25"],
    ]
    assert caught.value.exit_code == 64


def test_names_of_ports_and_types_are_numbers_within_their_limits() -> None:
    assert all(0 < port < 65536 for port in SERVICES.values())
    assert all(0 <= number < 256 for number in ICMP_TYPES.values())
    assert len(set(ICMP_TYPES.values())) == len(ICMP_TYPES)


def test_of_very_many_mistakes_the_first_are_said() -> None:
    with pytest.raises(PolicyError, match=r"my\.policy: 100 mistakes or more") as caught:
        read("alow tcp any -> any\n" * 100_000)
    assert caught.value.detail.count("\n") == 99


def test_a_word_that_is_no_word_is_not_repeated() -> None:
    with pytest.raises(PolicyError, match=r": 1 mistake$") as caught:
        read(f"allow tcp any -> {'x' * 100_000}")
    assert caught.value.detail == "my.policy:1:18: a word of 100000 letters: the longest has 80"


# --- very many rules -----------------------------------------------------------------------------------------------


def overlapping(count: int) -> Rules:
    """Rules between all hosts about ranges of ports that overlap, most of which decide about nothing."""
    starts = [(number * 7919) % 60_000 for number in range(count)]
    return read("\n".join(f"allow tcp any -> any port {start}-{start + 5000}" for start in starts))


def test_rules_that_decide_about_nothing_become_no_flows() -> None:
    few, many = (len(compile_flows(FULL, overlapping(count))) for count in (40, 300))
    assert many < 2 * few


def test_advice_on_a_thousand_rules_between_all_hosts_is_a_matter_of_moments() -> None:
    began = time.process_time()
    assert len(advice(overlapping(1000), FULL)) > 900
    assert time.process_time() - began < 3


def test_of_many_rules_in_place_of_one_some_are_named() -> None:
    rules = read(
        "\n".join([*(f"allow tcp any -> any port {port}" for port in range(1, 31)), "deny tcp any -> any port 1-30"])
    )
    names = " and ".join(f"line-{number}" for number in range(1, 13))
    assert advice(rules, FULL) == [
        f"line-31: shadowed: {names} and 18 others above it decide about all that it speaks of"
    ]


def test_a_policy_that_would_become_too_many_flows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controllers.compile.MOST_FLOWS", 2000)
    ports = ", ".join(str(port) for port in range(1, 200, 2))
    with pytest.raises(PolicyError, match="2 rules become more than 2,000 flows: name fewer hosts or ports"):
        compile_flows(FULL, read(f"allow tcp any -> any port {ports}"))


# --- in vain -------------------------------------------------------------------------------------------------------


def test_the_shipped_policies_say_nothing_in_vain() -> None:
    assert advice(FIREWALLS_ON, FULL) == advice(FIREWALLS_OFF, FULL) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "deny tcp internet -> lb # shut: a\nallow tcp client -> lb port 80 # late: b",
            ["late: shadowed: shut above it decides about all that it speaks of"],
        ),
        (
            "allow tcp any -> lb port 1-99 # wide: a\nallow tcp client -> lb port 80 # late: b",
            ["late: redundant: wide above it decides about all that it speaks of"],
        ),
        (
            "allow tcp client -> lb port 80 # early: a\nallow tcp any -> lb port 1-99 # wide: b",
            ["early: redundant: without it the rules below would allow the same"],
        ),
        (
            """allow tcp client -> lb port 1-50 # low: a
            allow tcp client -> lb port 51-99 # high: b
            deny tcp client -> lb port 40-60 # late: c""",
            ["late: shadowed: low and high above it decide about all that it speaks of"],
        ),
        ("deny tcp client -> lb # shut: a", ["shut: redundant: without it the rules below would deny the same"]),
        ("allow tcp lb -> lb # self: a", ["self: applies to no hosts: lb -> lb has no two hosts"]),
        ("deny tcp client -> lb port 80 # not: a\nallow tcp any -> lb # all: b", []),
    ],
)  # fmt: skip
def test_what_is_said_in_vain(text: str, said: list[str]) -> None:
    assert advice(read(text), FULL) == said


def test_rules_that_no_packet_has_met() -> None:
    rules = read("allow tcp client -> lb # a: a\nallow tcp dns -> lb # b: b")
    assert unused(rules, {"core": {"a": 3, "b": 0}, "fw1": {"deny-rest": 1}}) == [
        "b: never hit since its flows were installed"
    ]


# --- what would change ---------------------------------------------------------------------------------------------


def test_nothing_changes_into_itself() -> None:
    assert changes(FIREWALLS_ON, FIREWALLS_ON, FULL) == []


def test_a_port_opened_to_all_is_said_in_a_line_or_two() -> None:
    hole = Rule("db-anywhere", "any", "srv2", "tcp", 3306, "allow", "")
    (change,) = changes(FIREWALLS_ON, (hole, *FIREWALLS_ON), FULL)
    assert change.text(FULL) == "any -> srv2 tcp/3306: now open, by rule 'db-anywhere'"
    single = Rule("db-anywhere", "attacker", "srv2", "tcp", 3306, "allow", "")
    (change,) = changes(FIREWALLS_ON, (single, *FIREWALLS_ON), FULL)
    assert change.text(FULL) == "attacker -> srv2 tcp/3306: now open, by rule 'db-anywhere'"


def test_what_is_closed_is_said_too() -> None:
    without = tuple(rule for rule in FIREWALLS_ON if rule.name != "web")
    (change,) = changes(FIREWALLS_ON, without, FULL)
    assert (change.text(FULL), change.opened) == ("lb -> servers tcp/80: now closed, by rule 'deny-rest'", False)


@given(before=some_rules(), after=some_rules(), number=st.sampled_from([22, 80, 8050, 65535]))
def test_changes_are_exactly_what_is_decided_otherwise(before: Rules, after: Rules, number: int) -> None:
    """Against decide(): a pair stands in a change that says tcp if and only if some tcp port differs there."""
    found = changes(before, after, PLAN)
    told = {
        (src, dst, each.opened)
        for each in found
        for src in each.sources
        for dst in each.targets
        if ("tcp" in each.what) != each.what.startswith("any")
    }
    for src in PLAN.hosts:
        for dst in PLAN.hosts:
            if src == dst:
                continue
            was, will = (decide(rules, PLAN, src.name, dst.name, "tcp", number).action for rules in (before, after))
            if was != will:
                assert (src.name, dst.name, will == "allow") in told


def test_pairs_are_grouped_without_loss() -> None:
    pairs = [("a", "x"), ("b", "x"), ("a", "y"), ("b", "y"), ("c", "x")]
    assert grouped(pairs) == [(("a", "b"), ("x", "y")), (("c",), ("x",))]
    every = [(a, b) for a in "abc" for b in "abc" if a != b]
    assert grouped(every) == [(("a", "b", "c"), ("a", "b", "c"))]


def test_a_plan_with_one_server_has_no_replicas() -> None:
    small: Plan = plan_of(Profile(servers=1))
    assert parse(render(FIREWALLS_ON), "x", small) == FIREWALLS_ON
    assert advice(FIREWALLS_ON, small) == ["db-replication: applies to no hosts: replicas -> primary has no two hosts"]
