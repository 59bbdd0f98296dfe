"""A crowd of honest visitors, run on the client host as a worker (experiments/instruments/worker.py).

Requests are due at a steady rate; each is the next of a visit under way, or the first of a new one. Somebody with an
account comes every few seconds only. Beside them a mail program asks for a port that the site does not have.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import h11

from experiments.detection.visitors import MEMBERS, PASSERS_BY, Ask, SiteAnswer, Visit, drawn
from experiments.instruments.askingjob import AskingJob
from experiments.instruments.generator import TRUST, Broken, LoadConnection
from experiments.instruments.load import steady
from experiments.instruments.worker import Say, serve
from topo.plan import SITE

#: visits under way, so that each asks at a person's pace; and connections that one address may have
VISITS, MOST = 30, 250
MAIL_PORT, MAIL_SECONDS = 993, 2.0
#: an answer later than this is no answer to somebody who waits for a page
LATE = 0.5


@dataclass(frozen=True)
class CrowdSettings:
    """``rate``: requests a second. ``members_s``: seconds between visitors with an account."""

    rate: float
    seed: int
    members_s: float = 3.0
    patience_s: float = 3.0


@dataclass
class HonestOutcome:
    """One request. ``time``: when it was due (s since 1970); ``begins``: it was a visit's first one."""

    time: float
    who: str
    begins: bool
    method: str
    path: str
    latency_s: float = 0.0
    status: int | None = None


@dataclass
class Visiting:
    """A visit under way: the request that is next, the visitor's cookies and connection."""

    who: str
    visit: Visit
    ask: Ask
    begins: bool = True
    cookies: dict[str, str] = field(default_factory=dict)
    connection: LoadConnection | None = None


class Crowd:
    """Everybody, in one event loop."""

    def __init__(self, settings: CrowdSettings, say: Callable[[HonestOutcome], None]) -> None:
        self.settings = settings
        self._say = say
        self._random = random.Random(settings.seed)
        self._address = socket.gethostbyname(SITE)
        self._trust = ssl.create_default_context(cafile=TRUST)
        self._epoch = time.time() - time.monotonic()
        self._waiting: deque[Visiting] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._going = True
        self._numbers = 0
        self._member_due = 0.0

    async def run(self, ended: asyncio.Event) -> None:
        mail = asyncio.create_task(self._mail(ended))
        for due in steady(self.settings.rate, time.monotonic()):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), max(0.0, due - time.monotonic()))
            if ended.is_set():
                break
            if self._going and time.monotonic() - due < LATE:
                self._begin(due)
        await asyncio.gather(mail, *self._running)
        for visiting in self._waiting:
            self._leave(visiting)
        await asyncio.sleep(0)

    async def pause(self) -> None:
        self._going = False
        await asyncio.gather(*self._running)

    def resume(self) -> None:
        self._going = True

    def _begin(self, due: float) -> None:
        if len(self._running) >= MOST:
            self._say(HonestOutcome(due + self._epoch, "nobody", begins=False, method="GET", path="-"))
            return
        task = asyncio.create_task(self._one(self._next(due), due))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _next(self, due: float) -> Visiting:
        if due >= self._member_due:
            self._member_due = due + self.settings.members_s
            return self._comes(MEMBERS)
        if self._waiting and len(self._waiting) + len(self._running) >= VISITS:
            return self._waiting.popleft()
        return self._comes(PASSERS_BY)

    def _comes(self, among: Any) -> Visiting:
        self._numbers += 1
        who = drawn(among, self._random)
        own = random.Random(f"{self.settings.seed} {self._numbers}")
        visit = who(own, f"{own.getrandbits(40):010x}")
        return Visiting(who.__name__, visit, next(visit))

    async def _one(self, visiting: Visiting, due: float) -> None:
        ask, answer = visiting.ask, None
        told = HonestOutcome(due + self._epoch, visiting.who, visiting.begins, ask.method, ask.path)
        visiting.begins = False
        try:
            answer = await asyncio.wait_for(self._asked(visiting, ask), self.settings.patience_s)
            told.status = answer.status
        except (asyncio.TimeoutError, OSError, ssl.SSLError, h11.ProtocolError, Broken):
            self._leave(visiting)
        told.latency_s = round(time.monotonic() - due, 6)
        self._say(told)
        if answer is not None:
            self._goes_on(visiting, answer)

    def _goes_on(self, visiting: Visiting, answer: SiteAnswer) -> None:
        """By what was answered. Who meets a page without the form that belongs there gives up."""
        try:
            visiting.ask = visiting.visit.send(answer)
        except (StopIteration, LookupError):
            self._leave(visiting)
        else:
            self._waiting.append(visiting)

    def _leave(self, visiting: Visiting) -> None:
        visiting.visit.close()
        if visiting.connection:
            visiting.connection.close()

    async def _asked(self, visiting: Visiting, ask: Ask) -> SiteAnswer:
        if visiting.connection is None or not visiting.connection.fresh:
            if visiting.connection:
                visiting.connection.close()
            visiting.connection = await LoadConnection.open(self._address, self._trust)
        response, data = await visiting.connection.ask(_request(ask, visiting.cookies), ask.body.encode())
        headers = [(name, value.decode(errors="replace")) for name, value in response.headers]
        for name, value in headers:
            if name == b"set-cookie":
                visiting.cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        location = next((value for name, value in headers if name == b"location"), "")
        return SiteAnswer(response.status_code, data.decode(errors="replace"), location)

    async def _mail(self, ended: asyncio.Event) -> None:
        """The same port again and again, whose packets the firewall drops."""
        while not ended.is_set():
            if self._going:
                with suppress(OSError, asyncio.TimeoutError):
                    opening = asyncio.open_connection(self._address, MAIL_PORT)
                    _, writer = await asyncio.wait_for(opening, 0.5)
                    writer.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ended.wait(), MAIL_SECONDS)


def _request(ask: Ask, cookies: Mapping[str, str]) -> h11.Request:
    headers = [("Host", SITE), *ask.headers.items()]
    if cookies:
        headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())))
    if ask.method == "POST":
        headers.append(("Content-Length", str(len(ask.body.encode()))))
    return h11.Request(method=ask.method, target=ask.path, headers=headers)


def _job(raw: Mapping[str, Any], say: Say) -> AskingJob:
    return AskingJob(lambda: Crowd(CrowdSettings(**raw), lambda outcome: say(asdict(outcome))))


if __name__ == "__main__":
    sys.exit(serve(_job))
