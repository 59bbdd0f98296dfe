"""The policy that another one is compared with: that of a running testbed, or a profile's."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from controllers.compile import compile_flows
from controllers.policy import Rule, policy
from controllers.policyfile import parse
from controllers.verify.explain import differences
from controllers.verify.proof import Proof
from testbed.commands.command import Origin
from topo import folders, profile
from topo.errors import FoobarError, UsageError
from topo.plan import Plan, plan

PRESENT = "the profile's policy"


class Baseline:
    """A running testbed's policy, or that of a profile where none runs.

    Flags of the profile, if any is given, mean the profile.
    """

    def __init__(self, options: Namespace, origin: Origin) -> None:
        asked = profile.from_flags(options)
        target = None if _given(options) else origin.target_if_any(options.name)
        answer = target.ask("rules") if target else None
        self.name = f"testbed {target.name}" if target else PRESENT
        self.plan: Plan = plan(target.profile if target else asked)
        self.rules: tuple[Rule, ...] = parse(answer["text"], self.name, self.plan) if answer else policy(self.plan)
        self.counters: dict[str, dict[str, int]] = answer["counters"] if answer else {}

    def read(self, text: str, path: Path) -> tuple[Rule, ...]:
        """The rules of a file's text, compiled and proved. Raises PolicyError with all that is wrong with it."""
        rules = parse(text, str(path), self.plan)
        prove(rules, self.plan)
        return rules


def prove(rules: tuple[Rule, ...], where: Plan) -> None:
    """The flows that these rules become do what they say. Raises FoobarError: then the compiler is wrong."""
    flows = compile_flows(where, rules)
    checked = Proof(where).check(flows, rules)
    if not checked.holds:
        detail = "\n".join(differences(where, flows, rules, checked))
        raise FoobarError("the compiled flows are not what the policy says", detail=detail)


def text_of(path: Path) -> str:
    """A policy file's text. Raises UsageError when it cannot be read, or is larger than any policy."""
    try:
        return folders.read(path).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: no UTF-8 text: {error}") from None


def _given(options: Namespace) -> bool:
    axes = {name: value for name, value in vars(options).items() if name in profile.SEED.as_dict()}
    return options.profile != "seed" or any(value is not None for value in axes.values())
