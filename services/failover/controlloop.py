"""The failover manager's control loop: observe, decide, execute."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from controllers import jsonsocket, northbound
from controllers.overlay import fenced, from_dict
from services.failover.actions import Action, HandOver, NoAction, Route
from services.failover.controlconnection import ControlConnection
from services.failover.decide import current_primary, decide
from services.failover.execute import FAILURES, Tools, execute
from services.failover.observation import Observation, ServerState
from services.failover.stall import STALL_S
from services.failover.switchover import switch_over
from services.failover.watcher import DatabaseWatcher
from services.failover.writeendpoint import WriteEndpoint
from topo.errors import FoobarError
from topo.eventlog import EventLog

LOOK_S, OTHERS_S, PULSE_S, LATE_S = 0.02, 0.25, 0.02, 0.05


class ControlLoop:
    """The state is in the servers, the balancer and the controller; the note is a hint for the next process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.lossless: bool = config["lossless"]
        self.wake = threading.Event()
        self.log = EventLog(Path(config["log"]))
        self.note_file, self.socket_file = Path(config["state"]), Path(config["ask"])
        self.note = _read_note(self.note_file)
        self.tools = self._tools(config)
        self.watchers = self._watchers(config)
        self.turn = threading.Lock()
        self.routed: str | None = "?"
        self.held = True
        self.fences: list[str] = []
        self.closed: set[str] = set()
        self.acted_at = time.monotonic()
        self.refused: dict[str, str] = {}
        self.said = ""

    def _tools(self, config: dict[str, Any]) -> Tools:
        addresses: dict[str, str] = config["servers"]
        return Tools(
            {
                name: ControlConnection({**config["login"], "host": address}, self.lossless, config["promised"][name])
                for name, address in addresses.items()
            },
            addresses,
            config["follow"],
            config["replication_password"],
            self.lossless,
            WriteEndpoint((config["balancer"], config["port"]), list(addresses), config["balancer_tls"]),
            self.log,
            ThreadPoolExecutor(max_workers=16),
            lambda primary: self._save(primary=primary),
        )

    def _watchers(self, config: dict[str, Any]) -> tuple[DatabaseWatcher, ...]:
        addresses: dict[str, str] = config["servers"]
        peers = {address: name for name, address in addresses.items()}
        return tuple(
            DatabaseWatcher(
                ServerState(name, number, silent=1e9),
                {**config["login"], "host": address},
                peers,
                config["promised"][name],
                self.wake.set,
                self.tools.databases[name].outlive,
            )
            for number, (name, address) in enumerate(addresses.items(), start=1)
        )

    def run(self) -> None:
        self.log.note("started", primary=self.note.get("primary", ""), why="boot or restart")
        for watcher in self.watchers:
            watcher.start()
        jsonsocket.serve(
            jsonsocket.listening(self.socket_file),
            {"switchover": self.switch_over, "boot-ended": self.end_boot, "observation": self.seen},
        )
        self._ask_others()
        for target in (self._watch_others, self._watch_itself):
            threading.Thread(target=target, daemon=True, name=target.__name__).start()
        while True:
            self.wake.wait(LOOK_S)
            self.wake.clear()
            with self.turn:
                self._step()

    def switch_over(self, host: str) -> dict[str, Any]:
        """Asked from outside: a planned change of the primary."""
        with self.turn:
            observation = self._observe()
            answer = switch_over(self.tools, host, observation, current_primary(observation))
            self._acted()
            return answer

    def end_boot(self) -> dict[str, Any]:
        """Told from outside that the testbed is steady; the next process will know it from the note."""
        with self.turn:
            self._save(booted=True)
        return {}

    def seen(self) -> dict[str, Any]:
        """Asked by monitoring: the primary, whether all others follow it, and seconds since each server answered."""
        now = time.monotonic()
        ages = {watcher.name: watcher.state(now, fenced=False).silent for watcher in self.watchers}
        return {"primary": self.note.get("primary", ""), "settled": self.note.get("settled", False), "ages": ages}

    def _step(self) -> None:
        observation = self._observe()
        action = decide(observation)
        if isinstance(action, NoAction):
            self._stay(observation, action)
        else:
            self._act(observation, action)

    def _act(self, observation: Observation, action: Action) -> None:
        self._save(settled=False)
        try:
            if isinstance(action, HandOver):
                self._hand_over(action, observation)
            else:
                execute(self.tools, action, observation)
            self.held = self.held and not isinstance(action, Route)
        except FAILURES as error:
            self._say(f"{type(action).__name__.lower()}-failed", str(error))
        self._acted()

    def _hand_over(self, action: HandOver, observation: Observation) -> None:
        """As when it is asked for from outside, after an end to the sessions that hold the writes up."""
        self.tools.databases[action.primary].end_sessions()
        self.log.note("hand-over", primary=action.primary, candidate=action.candidate, why=action.why)
        switch_over(self.tools, action.candidate, observation, action.primary)

    def _acted(self) -> None:
        self._ask_others()
        self.acted_at = time.monotonic()

    def _stay(self, observation: Observation, action: NoAction) -> None:
        self._save(settled=action.settled, problems=[*observation.problems, *([action.why] if action.blocked else [])])
        for server in observation.reachable:
            if server.diverged and self.refused.get(server.name) != server.position:
                self.refused[server.name] = server.position
                self.log.note("rejoin-refused", server=server.name, why=server.error, positions=observation.positions)
        if action.blocked:
            self._say("waiting", action.why)
        elif action.settled:
            self.said = ""

    def _say(self, event: str, why: str) -> None:
        """Log an event, but a repeated reason only once."""
        if why != self.said:
            self.said = why
            self.log.note(event, why=why)

    def _observe(self) -> Observation:
        now = time.monotonic()
        servers = tuple(
            replace(watcher.state(now, watcher.name in self.fences), closed=watcher.name in self.closed)
            for watcher in self.watchers
        )
        reachable = {server.name: server.position for server in servers if server.reachable}
        stale = any(watcher.asked_at < self.acted_at for watcher in self.watchers if watcher.name in reachable)
        noted = self.note.get("primary", "")
        booting = not self.note.get("booted", False)
        return Observation(servers, self.lossless, noted, self.routed, self.held, stale, booting, reachable)

    def _watch_itself(self) -> None:
        """The time in which this process was not scheduled: it must not count as the servers' silence."""
        while True:
            before = time.monotonic()
            time.sleep(PULSE_S)
            late = time.monotonic() - before - PULSE_S
            if late > LATE_S:
                for watcher in self.watchers:
                    watcher.forgive(late)

    def _watch_others(self) -> None:
        """Only this process changes what balancer and controller hold, but they may be restarted."""
        while True:
            time.sleep(OTHERS_S if self.routed != "?" else LOOK_S)
            self._ask_others()
            for server in self._observe().reachable:
                self.tools.databases[server.name].open_early()
                if server.stalled >= STALL_S and not self.tools.databases[server.name].lets_in():
                    self.closed.add(server.name)
                else:
                    self.closed.discard(server.name)

    def _ask_others(self) -> None:
        try:
            self.routed = self.tools.endpoint.routed()
        except OSError:
            self.routed = "?"
        with suppress(FoobarError):
            self.fences = fenced(map(from_dict, northbound.ask("overlays")["overlays"]))

    def _save(self, **changes: Any) -> None:
        """Keep the note; before writes are opened on a server, its name."""
        if any(self.note.get(name) != value for name, value in changes.items()):
            self.note = {**self.note, **changes}
            partial = self.note_file.with_suffix(".part")
            partial.write_text(json.dumps(self.note))
            partial.replace(self.note_file)


def _read_note(path: Path) -> dict[str, Any]:
    try:
        return {**json.loads(path.read_text()), "settled": False}
    except (OSError, ValueError):
        return {}
