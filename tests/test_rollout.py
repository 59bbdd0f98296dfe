"""What happens to a policy that cannot be put in force, or not be proved: the old one is back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from controllers.flow import Flow
from controllers.overlay import Overlay
from controllers.policy import Rule
from controllers.policyfile import render
from testbed.rollout import PolicyRollout
from topo.errors import FoobarError, RefusedError
from topo.plan import Plan

Rules = tuple[Rule, ...]
MORE = Rule("more", "client", "lb", "tcp", 8080, "allow", "for the test")


class Tried(PolicyRollout):
    """Without switches: what they would be found to do wrong, look by look, and what was installed."""

    def __init__(self, plan: Plan, rules: Rules, *looks: str | None, broken: bool = False) -> None:
        testbed: Any = SimpleNamespace(plan=plan, rules=rules)
        super().__init__(testbed)
        self.looks = list(looks)
        self.broken = broken
        self.installed: list[Rules] = []

    def _looked(self) -> tuple[tuple[Flow, ...], tuple[Overlay, ...]]:
        return (), ()

    def _wrong(self, flows: tuple[Flow, ...], overlays: tuple[Overlay, ...]) -> list[str]:
        seen = self.looks.pop(0)
        return [seen] if seen else []

    def _install(self, rules: Rules) -> None:
        self.installed.append(rules)
        if self.broken and len(self.installed) > 1:
            raise FoobarError("fw1 is away")


def names(rules: Rules) -> list[str]:
    return [rule.name for rule in rules]


def test_what_cannot_be_proved_is_rolled_back(plan: Plan, rules: Rules) -> None:
    tried = Tried(plan, rules, None, "client -> srv1 tcp/22: arrives")
    with pytest.raises(FoobarError, match="the old policy is in force again: what the switches do is") as caught:
        tried.apply(render((MORE, *rules)), "my.policy")
    assert caught.value.exit_code == 3
    assert [names(each) for each in tried.installed] == [names((MORE, *rules)), names(rules)]


def test_an_old_policy_that_is_not_back_is_told(plan: Plan, rules: Rules) -> None:
    tried = Tried(plan, rules, None, "a hole", broken=True)
    with pytest.raises(FoobarError, match="a hole; and the old policy is not back: fw1 is away"):
        tried.apply(render((MORE, *rules)), "my.policy")


def test_switches_that_are_wrong_already_are_not_touched(plan: Plan, rules: Rules) -> None:
    tried = Tried(plan, rules, "a hole")
    with pytest.raises(RefusedError, match="present policy says: a hole"):
        tried.apply(render((MORE, *rules)), "my.policy")
    assert tried.installed == []
