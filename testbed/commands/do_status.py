"""``status``: running testbeds and their services."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from testbed import control, state
from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _looked(testbed: Testbed) -> dict[str, Any]:
    """A testbed's status after a new look at its steady state."""
    problems = testbed.look().problems
    return {**testbed.status(), "problems": problems}


class StatusCommand(Command):
    """Outside, all running testbeds as they last saw themselves; at the prompt, a new look at this one."""

    name = "status"
    words = "[--json]"
    summary = "running testbeds and their services"
    about = "Show running testbeds, or at the prompt this one, and the state of their services."

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"status": lambda testbed: testbed.status(), "look": _looked}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON: a list, or one object of one testbed")

    def run(self, options: Namespace, origin: Origin) -> int:
        (_show_this_one if origin.at_prompt else _show_all)(options, origin)
        return EXIT_HOLDS


def _show_this_one(options: Namespace, origin: Origin) -> None:
    answer = origin.target(None).ask("look")
    if options.json:
        print(json.dumps(answer, indent=1))
        return
    from testbed import render

    render.console.print(render.services(answer))
    if answer["problems"]:
        render.console.print(answer["problems"], style="red")


def _show_all(options: Namespace, _: Origin) -> None:
    entries = [state.the(options.name)] if options.name else state.running()
    answers = [(asdict(entry), control.ask(entry, "status") if entry.phase == "up" else None) for entry in entries]
    if options.json:
        values = [{**entry, **(answer or {}), "hosts": _host_rows(entry, answer)} for entry, answer in answers]
        print(json.dumps(values[0] if options.name else values, indent=1))
        return
    from testbed import render

    render.console.print(render.status([(entry, answer) for entry, answer in answers]))


def _host_rows(entry: dict[str, Any], answer: dict[str, Any] | None) -> dict[str, Any]:
    known = answer["hosts"] if answer else {}
    return {name: {"pid": pid, **known.get(name, {})} for name, pid in entry["hosts"].items()}
