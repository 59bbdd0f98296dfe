"""The failover manager's process: looks, decides, acts, fifty times a second or as soon as there is news.

python -m services.failover CONFIG.json
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from controllers import jsonsocket, northbound
from services.failover import execute
from services.failover.database import Database
from services.failover.decide import Demote, Join, Route, Stay, Succeed, decide, incumbent
from services.failover.execute import FAILURES, Tools
from services.failover.journal import Journal
from services.failover.observation import View
from services.failover.routing import Balancer
from topo.errors import FoobarError

LOOK_S, OTHERS_S, PULSE_S, LATE_S = 0.02, 0.25, 0.02, 0.05


class Succession:
    """One loop. What lasts is in the servers, the balancer and the controller; the note is a hint for the next one."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.lossless: bool = config["lossless"]
        self.wake = threading.Event()
        addresses: dict[str, str] = config["servers"]
        peers = {address: name for name, address in addresses.items()}
        databases = {
            name: Database(name, number, {**config["login"], "host": address}, peers, self.wake.set)
            for number, (name, address) in enumerate(addresses.items(), start=1)
        }
        for each in databases.values():
            each.lossless = self.lossless
        balancer = Balancer((config["balancer"], config["port"]), list(addresses))
        pool = ThreadPoolExecutor(max_workers=16)
        self.journal = Journal(Path(config["log"]))
        self.tools = Tools(
            databases,
            addresses,
            config["follow"],
            config["replication_password"],
            self.lossless,
            balancer,
            self.journal,
            pool,
            self.note,
        )
        self.files = Path(config["state"]), Path(config["ask"])
        self.state = _remembered(self.files[0])
        self.turn = threading.Lock()
        self.routed: str | None = "?"
        self.unsure = True
        self.fences: list[str] = []
        self.acted_at = time.monotonic()
        self.refused: dict[str, str] = {}
        self.said = ""

    def note(self, primary: str) -> None:
        """Remember whom writes were opened on, before it happens."""
        self._save(primary=primary)

    def run(self) -> None:
        self.journal.note("started", primary=self.state.get("primary", ""), why="boot or restart")
        for database in self.tools.databases.values():
            database.start()
        jsonsocket.serve(_listen(self.files[1]).detach(), {"switchover": self.switch_over})
        self._ask_others()
        for each in (self._watch_others, self._pulse):
            threading.Thread(target=each, daemon=True, name=each.__name__).start()
        while True:
            self.wake.wait(LOOK_S)
            self.wake.clear()
            with self.turn:
                self._step()

    def switch_over(self, host: str) -> dict[str, Any]:
        """Asked from outside: a planned change of the primary."""
        with self.turn:
            view = self._look()
            told = execute.switch_over(self.tools, host, view, incumbent(view))
            self._ask_others()
            self.acted_at = time.monotonic()
            return told

    def _step(self) -> None:
        view = self._look()
        action = decide(view)
        if isinstance(action, Stay):
            self._stay(view, action)
            return
        self._save(settled=False)
        try:
            self._act(action, view)
            self.unsure = self.unsure and not isinstance(action, Route)
        except FAILURES as error:
            self._say(f"{type(action).__name__.lower()}-failed", str(error))
        self._ask_others()
        self.acted_at = time.monotonic()

    def _act(self, action: Succeed | Route | Demote | Join, view: View) -> None:
        if isinstance(action, Succeed):
            execute.succeed(self.tools, action, view)
        elif isinstance(action, Route):
            execute.route(self.tools, action, view)
        elif isinstance(action, Demote):
            execute.demote(self.tools, action, view)
        else:
            execute.join(self.tools, action, view)

    def _stay(self, view: View, action: Stay) -> None:
        self._save(settled=action.settled)
        for each in view.heard:
            if each.diverged and self.refused.get(each.name) != each.position:
                self.refused[each.name] = each.position
                positions = {server.name: server.position for server in view.heard}
                self.journal.note("rejoin-refused", server=each.name, why=each.error, positions=positions)
        if action.blocked:
            self._say("waiting", action.why)

    def _say(self, event: str, why: str) -> None:
        """Once for each new reason."""
        if why != self.said:
            self.said = why
            self.journal.note(event, why=why)

    def _look(self) -> View:
        now = time.monotonic()
        servers = tuple(each.server(now, each.name in self.fences) for each in self.tools.databases.values())
        noted = self.state.get("primary", "")
        positions = {each.name: each.position for each in servers if each.heard}
        heard = {each.name for each in servers if each.heard}
        stale = any(self.tools.databases[name].asked_at < self.acted_at for name in heard)
        return View(servers, self.lossless, noted, self.routed, self.unsure, stale, positions)

    def _pulse(self) -> None:
        """When this process was not let run, nobody could be heard: that is not the servers' silence."""
        while True:
            before = time.monotonic()
            time.sleep(PULSE_S)
            late = time.monotonic() - before - PULSE_S
            if late > LATE_S:
                for each in self.tools.databases.values():
                    each.forgive(late)

    def _watch_others(self) -> None:
        """The balancer and the controller: nobody else changes what they hold, but they may be restarted."""
        while True:
            time.sleep(OTHERS_S if self.routed != "?" else LOOK_S)
            self._ask_others()
            for each in self.tools.databases.values():
                each.warm()

    def _ask_others(self) -> None:
        try:
            self.routed = self.tools.balancer.routed()
        except OSError:
            self.routed = "?"
        with suppress(FoobarError):
            self.fences = list(northbound.ask("fences"))

    def _save(self, **changes: Any) -> None:
        if any(self.state.get(name) != value for name, value in changes.items()):
            self.state = {**self.state, **changes}
            partial = self.files[0].with_suffix(".part")
            partial.write_text(json.dumps(self.state))
            partial.replace(self.files[0])


def _remembered(path: Path) -> dict[str, Any]:
    try:
        return {**json.loads(path.read_text()), "settled": False}
    except (OSError, ValueError):
        return {}


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen()
    return listening


if __name__ == "__main__":
    Succession(json.loads(Path(sys.argv[1]).read_text())).run()
