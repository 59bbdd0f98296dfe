"""The watch: what is read, when it acts, and what becomes of a detection when the controller does not answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from test_readers import denied, login

from services.detection.floods import Traffic
from services.detection.sentinel import Sentinel
from services.detection.watch import AttackWatch, ControllerLink
from topo.errors import RefusedError
from topo.plan import plan
from topo.profile import Profile


class FakeLink(ControllerLink):
    """Remembers what it was asked; ``away``: it does not answer."""

    def __init__(self) -> None:
        self.blocks: dict[str, float] = {}
        self.away = False
        self.counts: dict[str, dict[str, int]] = {}

    def standing(self) -> set[str]:
        if self.away:
            raise RefusedError("the controller does not answer")
        return set(self.blocks)

    def block(self, host: str, reason: str) -> float:
        assert reason.startswith(("scan: ", "flood: ", "brute-force: "))
        self.blocks[host] = time.time() + 60
        return self.blocks[host]

    def traffic(self, _: object) -> Traffic:
        if self.away:
            raise RefusedError("the controller does not answer")
        return Traffic(time.time(), self.counts)


class Watched:
    """A watch over files of a test."""

    def __init__(self, folder: Path) -> None:
        self.controller = FakeLink()
        self.samples, self.store, self.paused = (folder / name for name in ("denied.jsonl", "all.jsonl", "paused"))
        self.log = folder / "detection.log"
        (file,) = Sentinel("mon", plan(Profile(ids="on"))).files()
        self._config = json.loads(file.text) | {"log": str(self.log)}

    def begin(self) -> AttackWatch:
        return AttackWatch(self._config, str(self.samples), str(self.store), self.controller, str(self.paused))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(b"".join(line + b"\n" for line in lines))


def scan(when: float | None = None, ports: int = 4) -> list[bytes]:
    return [denied(port=port, time=when or time.time()) for port in range(ports)]


def test_a_scan_is_blocked_and_told(watched: Watched) -> None:
    watch, began = watched.begin(), time.time()
    append(watched.samples, *scan(ports=3))
    watch.look()
    assert watched.controller.blocks == {}
    append(watched.samples, *scan())
    watch.look()
    watch.look()
    started, told = watched.events()
    assert (started["event"], told["event"], told["kind"], told["source"]) == (
        "started",
        "detection",
        "scan",
        "attacker",
    )
    assert watched.controller.blocks == {"attacker": told["block"]}
    assert began <= told["since"] <= told["seen"] <= told["time"] <= told["block"] - 59
    assert told["evidence"] == [f"tcp/{port} of lb" for port in range(4)]


def test_what_happened_before_it_began_is_not_judged_again(watched: Watched) -> None:
    append(watched.samples, *scan())
    watch = watched.begin()
    append(watched.samples, *scan(time.time() - 60))
    watch.look()
    assert watched.controller.blocks == {}


def test_the_log_store_is_read_too(watched: Watched) -> None:
    watch = watched.begin()
    now = time.time() + 1
    lines = [login(401, number=at).replace(b"1.5", str(now).encode()) for at in range(4)]
    append(watched.store, *lines)
    watch.look()
    assert [event["kind"] for event in watched.events()[1:]] == ["brute-force"]
    assert set(watched.controller.blocks) == {"attacker"}


def test_a_controller_that_is_away_is_asked_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.detection.watch.COUNTERS_S", 0.0)
    watch = watched.begin()
    watched.controller.away = True
    append(watched.samples, *scan())
    watch.look()
    watch.look()
    assert [event.get("why") for event in watched.events()] == [None, "the controller does not answer"]
    watched.controller.away = False
    watch.look()
    assert [bool(event.get("block")) for event in watched.events()] == [False, False, True]
    assert set(watched.controller.blocks) == {"attacker"}
    monkeypatch.setattr("services.detection.watch.RETRY_S", -1.0)
    watched.controller.away = True
    append(watched.samples, *scan())
    watch.look()
    watched.controller.away, watched.controller.blocks = False, {}
    watch.look()
    assert watched.controller.blocks == {}, "it was tried for long enough"


def test_a_host_that_the_site_needs_is_not_blocked_and_that_is_said_once(watched: Watched) -> None:
    watch = watched.begin()
    for _ in range(3):
        append(watched.samples, *(line.replace(b'"attacker"', b'"srv1"') for line in scan()))
        watch.look()
    assert watched.controller.blocks == {}
    _, told = watched.events()
    assert (told["source"], told["block"], told["why"]) == ("srv1", None, "the site needs this host")


def test_who_is_blocked_is_not_told_again(watched: Watched) -> None:
    watch = watched.begin()
    watched.controller.blocks["attacker"] = time.time() + 60
    append(watched.samples, *scan())
    watch.look()
    assert len(watched.events()) == 1


def test_a_flood_is_blocked(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.detection.watch.COUNTERS_S", 0.0)
    watch = watched.begin()
    for refused in (0, 0, 5000, 5000):
        watched.controller.counts = {"attacker": {"refused": refused}, "client": {"sent": 90 * refused}}
        watch.look()
    assert set(watched.controller.blocks) == {"attacker"}
    assert watched.events()[-1]["odds"] is None


def test_a_paused_watch_tells_and_blocks_nobody(watched: Watched) -> None:
    watch = watched.begin()
    watched.paused.touch()
    append(watched.samples, *scan())
    watch.look()
    assert watched.controller.blocks == {}
    assert watched.events()[-1]["why"] == "blocking is paused"


def test_it_says_what_it_has_seen_and_what_it_uses(watched: Watched) -> None:
    watch = watched.begin()
    append(watched.samples, *scan())
    watch.look()
    told = watch.status()
    assert (told["contacts"], told["detections"]["scan"], told["detections"]["flood"]) == (4, 1, 0)
    assert told["cpu_s"] > 0
    assert 10**6 < told["memory_bytes"] < 10**9
