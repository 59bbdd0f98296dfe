"""Run on emulated hosts: ``visit`` asks as honest visitors do, ``idle``, ``passwords``, ``bodies`` and ``all`` attack.

Attackers come back when they are thrown out. ``fuzz`` sends malformed requests. Each prints one JSON object at its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import httpx
from malformedrequests import LoggedIn, malformed

from experiments.instruments.generator import TRUST, Client
from experiments.instruments.load import LoadSettings, Outcome, Session
from experiments.instruments.visit import Browser, Page
from topo.plan import SITE

IDLE, GUESSERS, SLOW = 2300, 64, 100
AGAIN_S = 5.0
# the balancer gives up a body that does not come after 5 s, without limits after 10 s
HANG_S = 20.0
LET_IN_S = 1.0
HELD: set[int] = set()
FAILURES = (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError)
Attack = Callable[[Counter[str], int], Awaitable[None]]


async def visit(seconds: float, rate: float, sessions: list[dict[str, str]]) -> dict[str, Any]:
    """Open-loop requests, reads and posts, a third of them on new connections."""
    outcomes: list[Outcome] = []
    logged_in = [Session(**session) for session in sessions]
    settings = LoadSettings(rate=rate, seed=time.time_ns(), tag=f"{time.time_ns()}", sessions=logged_in, fresh=0.33)
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, ended.set)
    await Client(settings, outcomes.append).run(ended)
    latencies = sorted(outcome.latency_s for outcome in outcomes)
    errors = Counter(outcome.error for outcome in outcomes if not outcome.ok)
    percent = {
        f"p{p}_ms": round(1000 * latencies[min(len(latencies) - 1, len(latencies) * p // 100)], 1) for p in (50, 99)
    }
    return {"asked": len(outcomes), "failed": errors.total(), "errors": dict(errors), **percent}


async def idle(count: Counter[str], number: int) -> None:
    """A TCP connection on which nothing is said, until it is closed; one that lives for a moment was let in."""
    reader, writer = await asyncio.open_connection(SITE, 443)
    try:
        count["idle opened"] += 1
        end = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([end], timeout=LET_IN_S)
        if not end.done():
            HELD.add(number)
            count["idle at once"] = max(count["idle at once"], len(HELD))
        await end
    finally:
        writer.close()
        HELD.discard(number)
    await asyncio.sleep(AGAIN_S)


async def guess(count: Counter[str], number: int) -> None:
    """Wrong passwords, one after the other on one connection."""
    reader, writer = await asyncio.open_connection(SITE, 443, ssl=TLS)
    try:
        while True:
            body = urlencode({"name": f"alice-{number % 8}", "password": f"{time.time_ns()}", "csrf_token": TOKEN})
            writer.write(post("/login", len(body), f"Cookie: {COOKIE}\r\n") + body.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            count[f"password {head.split()[1].decode()}"] += 1
            await asyncio.sleep(0.5)
    finally:
        writer.close()


async def slow_body(count: Counter[str], number: int) -> None:
    """A body that comes byte by byte; of every fourth, more than the balancer's buffers hold comes at once."""
    large = number % 4 == 0
    reader, writer = await asyncio.open_connection(SITE, 443, ssl=TLS)
    try:
        writer.write(post("/messages", 60_000 if large else 15_000, "") + b"x" * (40_000 if large else 10))
        count["slow bodies"] += 1
        answer = asyncio.ensure_future(reader.read(20))
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.5)
        count[f"body {answer.result()[9:12].decode()}"] += 1
    finally:
        writer.close()
    await asyncio.sleep(1)


def post(path: str, length: int, headers: str) -> bytes:
    kind = "application/x-www-form-urlencoded"
    lines = f"Host: {SITE}\r\nReferer: https://{SITE}{path}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    return f"POST {path} HTTP/1.1\r\n{lines}{headers}\r\n".encode()


ATTACKS: dict[str, tuple[Attack, int]] = {
    "passwords": (guess, GUESSERS),
    "bodies": (slow_body, SLOW),
    "idle": (idle, IDLE),
}


async def again_and_again(attack: Attack, count: Counter[str], number: int) -> None:
    while True:
        try:
            await attack(count, number)
        except FAILURES as error:
            count[f"{attack.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(AGAIN_S)


async def besiege(seconds: float, kinds: list[str]) -> dict[str, int]:
    count: Counter[str] = Counter()
    tasks = [
        asyncio.create_task(again_and_again(attack, count, number))
        for attack, size in (ATTACKS[kind] for kind in kinds)
        for number in range(size)
    ]
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.gather(*tasks), seconds)
    return dict(count)


async def fuzz(count: int, session: dict[str, str]) -> dict[str, Any]:
    """Malformed requests, each on a connection of its own: how many were answered how; each 500 and hang in full."""
    statuses: Counter[str] = Counter()
    odd: list[str] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            request = malformed(random.Random(number), LoggedIn(session["cookie"], session["token"]))
            try:
                status = await asyncio.wait_for(answered(request.raw()), HANG_S)
            except FAILURES as error:
                status = type(error).__name__
            statuses[status] += 1
            if status == "500" or not status.isdigit():
                odd.append(f"{number}: {status}: {request}"[:600])

    await asyncio.gather(*(worker() for _ in range(8)))
    return {"statuses": dict(statuses), "odd": odd}


async def answered(request: bytes) -> str:
    """The status; "Continue" is none yet."""
    reader, writer = await asyncio.open_connection(SITE, 443, ssl=TLS)
    try:
        writer.write(request)
        while (status := (await reader.readuntil(b"\r\n\r\n"))[9:12].decode("latin-1")) == "100":
            pass
        return status
    finally:
        writer.close()


def reached(browser: Browser, address: str) -> Page:
    """A page, as soon as the attacker's address is let in again."""
    while True:
        try:
            return browser.open(address)
        except httpx.TransportError:
            time.sleep(0.5)


def main(what: str, seconds: str, *more: str) -> None:
    global COOKIE, TOKEN
    if what == "visit":
        print(json.dumps(asyncio.run(visit(float(seconds), float(more[0]), json.loads(more[1])))))
        return
    if what == "fuzz":
        print(json.dumps(asyncio.run(fuzz(int(seconds), json.loads(more[0])[0]))))
        return
    os.nice(19)  # the attacker's own work is no part of the attack: it has a machine of its own
    kinds = list(ATTACKS) if what == "all" else [what]
    if "passwords" in kinds:
        browser = Browser()
        TOKEN = reached(browser, f"https://{SITE}/login").form_with("password").fields["csrf_token"]
        COOKIE = "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())
    print(json.dumps(asyncio.run(besiege(float(seconds), kinds))))


TLS = ssl.create_default_context(cafile=TRUST)
COOKIE = TOKEN = ""

if __name__ == "__main__":
    main(*sys.argv[1:])
