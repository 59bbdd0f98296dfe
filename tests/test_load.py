"""Open-loop load: what is noted, how compactly it is kept, and that a stalling server cannot slow the asker down."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.instruments import generator, load
from experiments.instruments.load import LoadSettings, Outcome, Session
from services import pki
from topo.folders import opened
from topo.plan import SITE

SESSIONS = (Session("a=1", "token"),)
DEADLINE_SECONDS = 20.0


def outcome(number: int, **changes: Any) -> Outcome:
    values = {"time": 1000.0 + number / 10, "method": "GET", "ok": True, "server": "srv1", "latency_s": 0.0123}
    return Outcome(number, **{**values, **changes})


def test_columns_keep_what_the_judge_needs() -> None:
    done = [
        outcome(0),
        outcome(1, method="POST", server="srv2", message=17, new_connection=True, late_s=0.002),
        outcome(2, ok=False, server=None, error="no answer in 3 s", latency_s=3.0),
        outcome(3, method="POST", ok=False, error="status 503"),
    ]
    again = load.rows(json.loads(json.dumps(load.columns(done, ["srv1", "srv2"]))))
    assert [(each.number, each.method, each.ok, each.server, each.message, each.error) for each in again] == [
        (each.number, each.method, each.ok, each.server, each.message, each.error) for each in done
    ]
    assert [each.new_connection for each in again] == [False, True, False, False]
    for before, after in zip(done, again, strict=True):
        assert after.time == pytest.approx(before.time, abs=load.TICK)
        assert (after.latency_s, after.late_s) == pytest.approx((before.latency_s, before.late_s), abs=load.TICK)


def test_columns_that_do_not_fit_are_refused() -> None:
    table = load.columns([outcome(0), outcome(1)], ["srv1"])
    for name in ("ok", "latency", "server"):
        with pytest.raises(ValueError, match=r"zip\(\)"):
            load.rows({**table, name: table[name][:-1]})


def test_no_requests_are_no_rows() -> None:
    assert load.rows(load.columns([], ["srv1"])) == []


def test_a_request_takes_few_bytes() -> None:
    done = [outcome(number, method=("GP"[number % 4 == 0] == "P" and "POST") or "GET") for number in range(1000)]
    assert len(json.dumps(load.columns(done, ["srv1"]), separators=(",", ":"))) < 25 * len(done)


def test_a_file_is_read_by_due_time_and_packed(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(outcome(number).as_dict()) + "\n" for number in (2, 0, 1)))
    assert [each.number for each in load.outcomes(file)] == [0, 1, 2]
    load.compress(opened(tmp_path), file.name)
    assert [path.name for path in tmp_path.iterdir()] == ["requests.jsonl.gz"]


# --- the generator, against a server of the test's own --------------------------------------------------------------


class StallingServer(threading.Thread):
    """HTTPS on this machine. It stalls while ``stalls`` is set, and then answers all."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        authority = pki.Authority()
        pair = authority.issue(SITE)
        (folder / "site.pem").write_text(pair.bundle)
        self.authority = authority.certificate
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "site.pem")
        self.loop = asyncio.new_event_loop()
        self.up, self.ended = threading.Event(), asyncio.Event()
        self.stalls = threading.Event()
        self.keys: list[str] = []
        self.connections = 0
        self.port = 0

    def run(self) -> None:
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context))
        self.port = server.sockets[0].getsockname()[1]
        self.up.set()
        self.loop.run_until_complete(self.ended.wait())
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)
        self.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer_all(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await self._head(reader):
            while self.stalls.is_set():
                await asyncio.sleep(0.005)
            is_post = head.startswith("POST")
            fields = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if line)
            await reader.readexactly(int(fields.get("content-length", 0)))
            if is_post:
                self.keys.append(fields["idempotency-key"])
            body = json.dumps({"id": len(self.keys)}).encode()
            status = "201 Created" if is_post else "200 OK"
            writer.write(
                f"HTTP/1.1 {status}\r\nX-Served-By: srv1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )

    async def _head(self, reader: asyncio.StreamReader) -> str:
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, OSError):
            return ""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StallingServer]:
    server = StallingServer(tmp_path)
    server.start()
    assert server.up.wait(5)
    trust = tmp_path / "trust.pem"
    trust.write_text(server.authority)
    monkeypatch.setattr(generator, "TRUST", str(trust))
    monkeypatch.setattr(generator, "PORT", server.port)
    monkeypatch.setattr(generator.socket, "gethostbyname", lambda _: "127.0.0.1")
    yield server
    server.end()


def ask(settings: LoadSettings, least: int, meanwhile: Any = lambda: None) -> list[Outcome]:
    """Load until there are so many outcomes; ``meanwhile`` runs in another thread."""
    done: list[Outcome] = []

    async def run() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().call_later(DEADLINE_SECONDS, ended.set)

        def hear(outcome: Outcome) -> None:
            done.append(outcome)
            if len(done) == least:
                ended.set()

        await asyncio.gather(
            generator.Client(settings, hear).run(ended),
            asyncio.get_running_loop().run_in_executor(None, meanwhile),
        )

    asyncio.run(run())
    assert len(done) >= least
    return sorted(done, key=lambda each: each.number)


def test_requests_are_answered_and_keys_sent_once(server: StallingServer) -> None:
    done = ask(LoadSettings(200, 1, "k", SESSIONS, first=10, fresh=0.0), 21)
    assert [each.number for each in done] == list(range(10, 10 + len(done)))
    assert all(each.ok and each.server == "srv1" and each.error is None for each in done)
    assert sorted(server.keys) == sorted(each.key for each in done if each.method == "POST")
    assert len(set(server.keys)) == len(server.keys) > 0
    assert sum(each.new_connection for each in done) == server.connections < len(done)


def test_the_same_seed_asks_the_same(server: StallingServer) -> None:
    one, other = (ask(LoadSettings(200, 7, "k", SESSIONS), 6) for _ in range(2))
    fewer = min(len(one), len(other))
    assert [each.method for each in one[:fewer]] == [each.method for each in other[:fewer]]


def test_a_share_of_requests_opens_its_own_connection(server: StallingServer) -> None:
    done = ask(LoadSettings(200, 1, "k", SESSIONS, fresh=1.0), 3)
    assert all(each.new_connection for each in done)


def test_a_stall_neither_slows_the_asker_down_nor_hides(server: StallingServer) -> None:
    def stall() -> None:
        time.sleep(0.1)
        server.stalls.set()
        time.sleep(0.3)
        server.stalls.clear()

    done = ask(LoadSettings(200, 1, "k", SESSIONS), 100, stall)
    waited = [each for each in done if each.latency_s > 0.1]
    assert len(waited) > 10, "those due during the stall were asked all the same"
    assert all(each.ok for each in waited)


def test_an_answer_that_does_not_come_is_a_failure(server: StallingServer) -> None:
    server.stalls.set()
    done = ask(LoadSettings(50, 1, "k", SESSIONS, patience_s=0.2), 5)
    server.stalls.clear()
    assert {each.error for each in done} == {"no answer in 0.2 s"}
    assert not any(each.ok for each in done)
    assert len({each.key for each in done if each.key}) == sum(each.method == "POST" for each in done), (
        "none is asked twice"
    )


def test_a_server_that_is_not_the_sites_is_a_failure(server: StallingServer, tmp_path: Path) -> None:
    (tmp_path / "trust.pem").write_text(pki.Authority().certificate)
    done = ask(LoadSettings(50, 1, "k", SESSIONS), 5)
    assert all("CERTIFICATE_VERIFY_FAILED" in (each.error or "") for each in done)
    assert server.keys == []


def test_as_fast_as_answers_come(server: StallingServer) -> None:
    done = ask(LoadSettings(None, 1, "k", SESSIONS, clients=4), 21)
    assert len({each.number for each in done}) == len(done)
    assert server.connections >= 4
