"""Which allow-rules of a policy can be tried, and between whom."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from controllers.policy import Rule, pairs
from testbed.steady import passes, tried
from topo.plan import Plan

Rules = tuple[Rule, ...]


def names(rule: Rule, rules: Rules, plan: Plan) -> set[tuple[str, str]]:
    return {(src.name, dst.name) for src, dst in tried(rule, rules, plan)}


def test_each_rule_of_ours_that_names_one_port_is_tried_between_all_its_pairs(plan: Plan, rules: Rules) -> None:
    named = [rule for rule in rules if rule.action == "allow" and isinstance(rule.port, int)]
    assert len(named) > 5
    for rule in named:
        assert tried(rule, rules, plan) == list(pairs(rule, plan)) != []


@pytest.mark.parametrize(
    ("proto", "port"), [("any", None), ("tcp", None), ("tcp", ((80, 81),)), ("udp", 123), ("icmp", 13)], ids=str
)
def test_what_has_no_sure_answer_is_not_tried(proto: str, port: int | None, plan: Plan) -> None:
    rule = Rule("some", "client", "lb", proto, port, "allow", "")
    assert tried(rule, (rule,), plan) == []


def test_only_a_rule_that_decides_is_tried(plan: Plan) -> None:
    shut = Rule("not-srv1", "any", "srv1", "any", None, "deny", "")
    wide = Rule("wide", "client", "servers", "tcp", 80, "allow", "")
    assert names(wide, (shut, wide), plan) == {("client", "srv2"), ("client", "srv3")}
    assert names(shut, (shut, wide), plan) == set()


def test_names_are_asked_of_the_name_server_alone(plan: Plan) -> None:
    rule = Rule("names", "client", "any", "udp", 53, "allow", "")
    assert names(rule, (rule,), plan) == {("client", "dns")}


@pytest.mark.parametrize(
    ("error", "seen"),
    [(None, None), (ConnectionRefusedError("refused"), None), (TimeoutError("timed out"), "tcp/80: timed out")],
    ids=["open", "refused", "silent"],
)
def test_who_refuses_was_reached(error: OSError | None, seen: str | None, plan: Plan) -> None:
    def connect(*_: object) -> Any:
        if error:
            raise error
        return SimpleNamespace(close=nullcontext)

    rule, inside = Rule("web", "lb", "srv1", "tcp", 80, "allow", ""), SimpleNamespace(connect=connect)
    assert passes(rule, inside, plan.host("lb"), plan.host("srv1")).seen == seen  # type: ignore[arg-type]
