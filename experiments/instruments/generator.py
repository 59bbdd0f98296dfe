"""Open-loop load, run on the client host as a worker (worker.py); ``... generator log-in COUNT`` makes its accounts.

Requests are due at times drawn beforehand (load.py), whatever becomes of the ones before; latency counts from
the time when a request was due, so a stalled server cannot hide by slowing the asker down ("coordinated omission").
One JSON line for each request is written to standard output as it ends. Nothing is ever asked twice here: retries are
made by the infrastructure under test.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import h11

from experiments.instruments.askingjob import AskingJob
from experiments.instruments.load import LoadSettings, Outcome, moments
from experiments.instruments.worker import serve
from topo.plan import SITE

TRUST = "/etc/ssl/certs/ca-certificates.crt"
PORT = 443
# an idle connection is given up before the balancer's 10 s do it: a request must not meet its closing
IDLE_SECONDS = 5.0
CHUNK = 65536
EXPECTED = {"GET": 200, "POST": 201}


class Broken(Exception):
    """The connection ended, or said something that is not HTTP, before the answer was complete."""


class LoadConnection:
    """One HTTP/1.1 connection over verified TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._used = time.monotonic()

    @classmethod
    async def open(cls, address: str, trust: ssl.SSLContext) -> LoadConnection:
        return cls(*await asyncio.open_connection(address, PORT, ssl=trust, server_hostname=SITE))

    @property
    def fresh(self) -> bool:
        """May it carry another request?"""
        return (
            self._http.our_state is h11.IDLE
            and not self._reader.at_eof()
            and time.monotonic() - self._used < IDLE_SECONDS
        )

    async def ask(self, request: h11.Request, body: bytes) -> tuple[h11.Response, bytes]:
        """The whole answer."""
        parts = [self._http.send(request), self._http.send(h11.Data(data=body)) if body else b""]
        self._writer.write(b"".join(part or b"" for part in [*parts, self._http.send(h11.EndOfMessage())]))
        response, data = None, bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(CHUNK))
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                data += event.data
            elif isinstance(event, h11.EndOfMessage) and response is not None:
                self._finish()
                return response, bytes(data)
            else:
                raise Broken(f"the connection ended: {type(event).__name__}")

    def _finish(self) -> None:
        self._used = time.monotonic()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()

    def close(self) -> None:
        self._writer.transport.abort()


class Client:
    """Asks, with a pool of kept connections; ``say`` is told each request's outcome."""

    def __init__(self, settings: LoadSettings, say: Callable[[Outcome], None]) -> None:
        self.settings = settings
        self._say = say
        self._address = socket.gethostbyname(SITE)
        self._trust = ssl.create_default_context(cafile=TRUST)
        self._idle: list[LoadConnection] = []
        self._epoch = time.time() - time.monotonic()
        self._going = asyncio.Event()
        self._going.set()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, ended: asyncio.Event) -> None:
        """Until ``ended``, and until every request that had begun is answered or given up."""
        if self.settings.rate is None:
            await asyncio.gather(*(self._without_pause(worker, ended) for worker in range(self.settings.clients)))
        else:
            due = moments(self.settings.pace, self.settings.rate, self.settings.seed)
            await self._as_due(due, ended)
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)

    async def pause(self) -> None:
        """Return when every request that had begun is answered or given up; none begins until ``resume``."""
        self._going.clear()
        await asyncio.gather(*self._running)

    def resume(self) -> None:
        self._going.set()

    async def _as_due(self, due: Iterator[float], ended: asyncio.Event) -> None:
        number = self.settings.first
        async for moment in self._come(due, ended):
            self._begin(number, moment)
            number += 1
        await asyncio.gather(*self._running)

    async def _come(self, due: Iterator[float], ended: asyncio.Event) -> AsyncIterator[float]:
        """Each due time, yielded when it has come; those that pass during a pause are left out."""
        for moment in due:
            if (pause := moment - time.monotonic()) > 0:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(ended.wait(), pause)
            else:
                await asyncio.sleep(0)
            if ended.is_set():
                return
            if self._going.is_set():
                yield moment

    async def _without_pause(self, worker: int, ended: asyncio.Event) -> None:
        number = self.settings.first + worker
        while not ended.is_set():
            await self._going.wait()
            await self._begin(number, time.monotonic())
            number += self.settings.clients

    def _begin(self, number: int, due: float) -> asyncio.Task[None]:
        task = asyncio.create_task(self._one(number, due))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _one(self, number: int, due: float) -> None:
        """Ask, and tell what came of it; a request that is not answered in time has failed."""
        drawn = random.Random(f"{self.settings.seed} {number}")  # its own: requests begin in any order
        is_write, is_fresh = drawn.random() < self.settings.writes, drawn.random() < self.settings.fresh
        outcome = Outcome(number, round(due + self._epoch, 6), "POST" if is_write else "GET")
        outcome.late_s = round(time.monotonic() - due, 6)
        try:
            await asyncio.wait_for(self._ask(outcome, is_fresh=is_fresh), self.settings.patience_s)
        except asyncio.TimeoutError:
            outcome.error = f"no answer in {self.settings.patience_s:g} s"
        except (OSError, ssl.SSLError, h11.ProtocolError, Broken) as error:
            outcome.error = f"{type(error).__name__}: {error}"
        outcome.latency_s = round(time.monotonic() - due, 6)
        self._say(outcome)

    async def _ask(self, outcome: Outcome, *, is_fresh: bool) -> None:
        request, body = self._request(outcome)
        connection = None if is_fresh else self._kept()
        outcome.new_connection = connection is None
        connection = connection or await LoadConnection.open(self._address, self._trust)
        try:
            response, data = await connection.ask(request, body)
        except BaseException:
            connection.close()
            raise
        if is_fresh or not connection.fresh:
            connection.close()
        else:
            self._idle.append(connection)
        self._note(outcome, response, data)

    def _note(self, outcome: Outcome, response: h11.Response, data: bytes) -> None:
        headers = {name: value.decode(errors="replace") for name, value in response.headers}
        outcome.status = response.status_code
        outcome.ok = response.status_code == EXPECTED[outcome.method]
        outcome.server, outcome.request_id = headers.get(b"x-served-by"), headers.get(b"x-request-id")
        outcome.shows = bool(self.settings.text) and self.settings.text.encode() in data
        if outcome.ok and outcome.method == "POST":
            outcome.message = _number_of(data)
        if not outcome.ok:
            outcome.error = f"status {response.status_code}"

    def _kept(self) -> LoadConnection | None:
        """The connection used last that is still good; those that are not are given up."""
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.close()
        return None

    def _request(self, outcome: Outcome) -> tuple[h11.Request, bytes]:
        headers = [("Host", SITE)]
        if outcome.method == "GET":
            return h11.Request(method="GET", target="/", headers=headers), b""
        session = self.settings.sessions[outcome.number % len(self.settings.sessions)]
        outcome.key = self.settings.key(outcome.number)
        body = json.dumps({"message": outcome.key}).encode()
        headers += [
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cookie", session.cookie),
            ("Referer", f"https://{SITE}/messages"),
            ("X-CSRFToken", session.token),
            ("Idempotency-Key", outcome.key),
        ]
        return h11.Request(method="POST", target="/messages", headers=headers), body


def _number_of(answer: bytes) -> int:
    """The number of the message that an answer says was stored. Raises Broken for an answer that says nothing so."""
    try:
        return int(json.loads(answer)["id"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise Broken(f"the answer names no message: {type(error).__name__}") from None


def log_in(count: int) -> list[dict[str, str]]:
    """New accounts, each logged in: what its requests must carry."""
    import secrets

    from experiments.instruments.visit import Browser

    sessions = []
    for _ in range(count):
        browser, account = Browser(), {"name": f"load-{secrets.token_hex(6)}", "password": secrets.token_urlsafe(12)}
        form = browser.open(f"https://{SITE}/signup").form_with("password")
        board = browser.submit(browser.submit(form, **account).form_with("password"), **account)
        cookie = "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())
        sessions.append({"cookie": cookie, "token": board.form_with("message").fields["csrf_token"]})
    return sessions


def main() -> int:
    """``log-in COUNT`` prints the sessions; without arguments it is a worker."""
    if sys.argv[1:2] == ["log-in"]:
        print(json.dumps(log_in(int(sys.argv[2]))))
        return 0
    return serve(
        lambda raw, say: AskingJob(lambda: Client(LoadSettings.parse(raw), lambda outcome: say(outcome.as_dict())))
    )


if __name__ == "__main__":
    sys.exit(main())
