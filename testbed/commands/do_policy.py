"""``policy show | check | apply``: the rules, a policy file read, and one put in force while everything runs."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo import profile
from topo.errors import EXIT_HOLDS, UsageError
from topo.plaintext import say

SHOW, CHECK, APPLY = "show", "check", "apply"


class PolicyCommand(Command):
    """Three verbs about policies, each with arguments of its own."""

    name = "policy"
    words = f"{SHOW} | {CHECK} | {APPLY}"
    summary = "the rules; read a policy file; put one in force"
    about = "Show the rules of the firewalls, check a policy file, or put one in force (docs/policy.md)."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {
            "rules": lambda testbed: testbed.rollout.rules(),
            "apply": ChangeRequest(lambda testbed, text, name: testbed.rollout.apply(text, name)),
        }

    def arguments(self, parser: Parser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="VERB")
        show = verbs.add_parser(SHOW, description="The rules in order, as a table or as a file.", allow_abbrev=False)
        show.add_argument("--file", action="store_true", help="as a policy file")
        check = verbs.add_parser(
            CHECK, description="Read a policy file and say what is wrong with it, or said in vain.", allow_abbrev=False
        )
        check.add_argument("policy", type=Path, metavar="FILE")
        apply = verbs.add_parser(
            APPLY,
            description="Put a policy in force on a running testbed; established connections are judged anew.",
            allow_abbrev=False,
        )
        apply.add_argument("policy", type=Path, metavar="FILE")
        apply.add_argument("--json", action="store_true", help="as JSON")
        for own in (show, check):
            profile.add_flags(own)

    def run(self, options: Namespace, origin: Origin) -> int:
        if options.verb is None:
            raise UsageError(f"policy: say one of: {SHOW}, {CHECK}, {APPLY}")
        {SHOW: _show, CHECK: _check, APPLY: _apply}[options.verb](options, origin)
        return EXIT_HOLDS


def _show(options: Namespace, origin: Origin) -> None:
    from controllers import policyfile
    from testbed import render
    from testbed.commands.baseline import Baseline

    baseline = Baseline(options, origin)
    if options.file:
        say(policyfile.render(baseline.rules), end="")
    else:
        render.console.print(render.rules(baseline.rules, baseline.counters))


def _check(options: Namespace, origin: Origin) -> None:
    from controllers.verify.advice import advice, unused
    from testbed.commands.baseline import Baseline, text_of

    text = text_of(options.policy)
    baseline = Baseline(options, origin)
    rules = baseline.read(text, options.policy)
    in_force = unused(rules, baseline.counters) if rules == baseline.rules and baseline.counters else []
    for line in (*advice(rules, baseline.plan), *in_force):
        say(f"note: {line}")
    say(f"{options.policy}: {len(rules)} rules, with the denial at the end")


def _apply(options: Namespace, origin: Origin) -> None:
    target = origin.target(options.name)
    from controllers.policyfile import parse
    from testbed.commands.baseline import prove, text_of
    from topo.plan import plan

    text, where = text_of(options.policy), plan(target.profile)
    prove(parse(text, str(options.policy), where), where)  # all that is wrong with it is said before anything changes
    applied = target.ask("apply", text=text, name=str(options.policy))
    say(json.dumps(applied, indent=1) if options.json else "\n".join(_lines(applied)))


def _lines(applied: dict[str, Any]) -> list[str]:
    """The effects of a policy's application (PolicyRollout.apply) in lines."""
    known = applied["connections"]
    return [
        *applied["changes"],
        f"connections: {known['kept']} kept, {known['cut']} cut, {known['anew']} judged anew by another rule",
        f"in force on {applied['switches']} switches, and proved, after {applied['ms']:.0f} ms",
    ]
