"""``blocks``: the hosts that are blocked. They are the controller's (controllers/blocks.py)."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _standing(testbed: Testbed) -> list[dict[str, Any]]:
    """The blocks in force, by host; ``left_s``: null until it is lifted by hand."""
    now = time.time()
    return [
        {
            "host": overlay.match.src,
            "switch": overlay.match.switch,
            "reason": overlay.reason,
            "until": overlay.until,
            "left_s": None if overlay.until is None else round(max(0.0, overlay.until - now), 1),
        }
        for overlay in testbed.overlays.standing
        if overlay.kind == "block"
    ]


class BlocksCommand(Command):
    """Shows the blocks in force."""

    name = "blocks"
    words = "[--json]"
    summary = "the hosts that are blocked: where, why, and for how long"
    about = "Show the hosts whose packets are dropped at their own switch port, why, and for how long."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"blocks": _standing}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON: a list")

    def run(self, options: Namespace, origin: Origin) -> int:
        rows = origin.target(options.name).ask("blocks")
        if options.json:
            print(json.dumps(rows, indent=1))
            return EXIT_HOLDS
        for row in rows:
            end = "until it is lifted" if row["left_s"] is None else f"for {row['left_s']:.0f} s more"
            say(f"{row['host']}: blocked on {row['switch']} {end}: {row['reason']}")
        if not rows:
            say("no host is blocked")
        return EXIT_HOLDS
