"""``top``: hosts, requests, latency, databases, drops and alerts, live."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import AskedTestbed, Command, Origin, Request
from topo.errors import EXIT_HOLDS, FoobarError, UsageError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

EVERY_S = 1.0
#: where there is no terminal
WIDTH, LINES = 120, 40


def _top(testbed: Testbed) -> dict[str, Any]:
    from testbed import monitored

    return monitored.top(testbed)


class TopCommand(Command):
    """Asks once a second, in a thread of its own: while no answer comes, the page says for how long."""

    name = "top"
    words = "[--once]"
    summary = "live: hosts, requests, latency, databases, drops, alerts; q leaves"
    about = "Show hosts, requests per second, latency, databases, dropped packets and alerts, live; q leaves."
    group = "monitoring"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"top": _top}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--once", action="store_true", help="print it once; needs no terminal")
        parser.add_argument("--json", action="store_true", help="print once what it is made of, as JSON")

    def run(self, options: Namespace, origin: Origin) -> int:
        once = options.once or options.json
        if not once and not (os.isatty(0) and os.isatty(1)):
            raise UsageError("top: it needs a terminal; without one: top --once")
        answers = TopAnswers(origin.target(options.name))
        if options.json:
            print(json.dumps(answers.newest()[0], indent=1))
        elif once:
            _print(answers)
        else:
            _live(answers)
        return EXIT_HOLDS


def _print(answers: TopAnswers) -> None:
    from testbed import render, toppage
    from testbed.plainconsole import PlainConsole

    width = render.console.width if sys.stdout.isatty() else WIDTH
    console = PlainConsole(width=width)
    for line in toppage.page(*answers.newest(), width, LINES):
        console.print(line, no_wrap=True)


def _live(answers: TopAnswers) -> None:
    from testbed import terminalpage, toppage

    answers.go_on()
    terminalpage.show(lambda width, height: toppage.page(*answers.newest(), width, height))


class TopAnswers:
    """The newest answer of a testbed, asked once, or again and again until the process ends."""

    def __init__(self, target: AskedTestbed) -> None:
        from testbed import render

        self._target = target
        self._title = f"{target.name}  {render.describe(target.profile)}"
        self._error: FoobarError | None = None
        self._known = time.monotonic()
        self._ask()

    def _ask(self) -> None:
        self._newest = {**self._target.ask("top"), "title": self._title}
        if not self._newest["problem"]:
            self._known = time.monotonic()

    def newest(self) -> tuple[dict[str, Any], float]:
        """It, and for how many seconds there has been none with values. Raises FoobarError: the testbed has gone."""
        if self._error:
            raise self._error
        return self._newest, time.monotonic() - self._known

    def go_on(self) -> None:
        """Ask again and again, beside whatever else is done."""
        threading.Thread(target=self._repeat, daemon=True, name="top").start()

    def _repeat(self) -> None:
        while True:
            time.sleep(EVERY_S)
            try:
                self._ask()
            except FoobarError as error:
                self._error = error
                return
