"""``verify``: prove that the firewalls do what the policy says; or, what would another policy change?"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo import profile
from topo.errors import EXIT_FAILS, EXIT_HOLDS
from topo.plaintext import say


class VerifyCommand(Command):
    """0: proved, or nothing would be opened; 1: the flows do otherwise, or something would be opened."""

    name = "verify"
    words = "[--policy FILE]"
    summary = "prove that the firewalls do what the policy says; or: what would that policy change?"
    about = "Prove that the switches let through what the policy allows, and nothing else."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"verify": lambda testbed: testbed.rollout.verify()}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--policy", type=Path, metavar="FILE", help="what would this one open and close instead?")
        parser.add_argument("--json", action="store_true", help="as JSON")
        profile.add_flags(parser)

    def run(self, options: Namespace, origin: Origin) -> int:
        if options.policy is not None:
            return _compared(options, origin)
        proved = origin.target(options.name).ask("verify")
        say(json.dumps(proved, indent=1) if options.json else "\n".join(_lines(proved)))
        return EXIT_HOLDS if proved["holds"] else EXIT_FAILS


def _lines(proved: dict[str, Any]) -> list[str]:
    """A proof's findings (PolicyRollout.verify) in lines."""
    from controllers.overlay import from_dict

    above = [f"note: {from_dict(row).text()}" for row in proved["overlays"]]
    verdict = "holds" if proved["holds"] else "fails"
    how_much = f"{proved['flows']} flows of {proved['switches']} switches, {proved['ms']:.0f} ms"
    return [*proved["differences"], *above, f"{verdict}: {how_much}"]


def _compared(options: Namespace, origin: Origin) -> int:
    from controllers.verify.advice import advice
    from controllers.verify.change import changes
    from testbed.commands.baseline import Baseline, text_of

    text = text_of(options.policy)
    baseline = Baseline(options, origin)
    rules = baseline.read(text, options.policy)
    both = changes(baseline.rules, rules, baseline.plan)
    opened = [change.text(baseline.plan) for change in both if change.opened]
    closed = [change.text(baseline.plan) for change in both if not change.opened]
    notes = advice(rules, baseline.plan)
    if options.json:
        say(json.dumps({"present": baseline.name, "opened": opened, "closed": closed, "advice": notes}, indent=1))
    else:
        for line in (*opened, *closed, *(f"note: {note}" for note in notes)):
            say(line)
        say(f"{len(opened)} opened, {len(closed)} closed, compared with {baseline.name}")
    return EXIT_FAILS if opened else EXIT_HOLDS
