"""``journey``: one visit to the site, followed through all its steps, on the testbed of the prompt."""

from __future__ import annotations

from argparse import Namespace

from testbed.commands.command import Command, Origin


class JourneyCommand(Command):
    """The main job, once more."""

    name = "journey"
    summary = "one visit to the site, followed through all 13 steps"
    about = "Follow one visit to the site through all 13 steps."
    outside = False

    def run(self, options: Namespace, origin: Origin) -> int:  # noqa: ARG002 - it takes none
        return origin.visit()
