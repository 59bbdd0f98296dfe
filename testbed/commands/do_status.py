"""``status``: running testbeds and their services."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from testbed import control, state
from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS, FoobarError


class StatusCommand(Command):
    """A new look at all running testbeds, side by side; at the prompt, at this one."""

    name = "status"
    words = "[--json]"
    summary = "running testbeds and their services"
    about = "Show running testbeds, or at the prompt this one, and the state of their services."

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"status": lambda testbed: testbed.status()}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON: a list, or one object of one testbed")

    def run(self, options: Namespace, origin: Origin) -> int:
        (_show_this_one if origin.at_prompt else _show_all)(options, origin)
        return EXIT_HOLDS


def _show_this_one(options: Namespace, origin: Origin) -> None:
    answer = origin.target(None).ask("status")
    if options.json:
        print(json.dumps(answer, indent=1))
        return
    from testbed import render

    render.console.print(render.services(answer))


def _show_all(options: Namespace, _: Origin) -> None:
    entries = [state.the(options.name)] if options.name else state.running()
    with ThreadPoolExecutor(max_workers=max(1, len(entries))) as pool:
        rows = list(pool.map(_row, entries))
    if options.json:
        print(json.dumps(rows[0] if options.name else rows, indent=1))
        return
    from testbed import render

    render.console.print(render.status(rows))


def _row(entry: state.Entry) -> dict[str, Any]:
    """A testbed's status. One that cannot be asked, or does not answer, is not steady, and that is why."""
    own = {**asdict(entry), "answers": False, "steady": False, "problems": [entry.phase], "looked": None}
    if entry.phase != "up":
        return own
    try:
        answer = control.ask(entry, "status")
    except FoobarError as error:
        return {**own, "problems": [str(error)]}
    hosts = {name: {"pid": pid, **answer["hosts"].get(name, {})} for name, pid in entry.hosts.items()}
    return {**own, **answer, "answers": True, "hosts": hosts}
