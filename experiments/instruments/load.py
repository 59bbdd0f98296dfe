"""Open-loop load on the site from the client host: its settings, its outcomes, and how it is started and ended.

When requests are due, in monotonic seconds and whatever becomes of those before, is said here alone. The requests
themselves are made by ``experiments/instruments/generator.py``, a program of its own on the client.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import IO, Any

from experiments.instruments.worker import ENVIRONMENT, HostWorker
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError
from topo.folders import Folder

POISSON, STEADY = "poisson", "steady"
GENERATOR = "experiments.instruments.generator"
FIRST_SECONDS = 20.0


def poisson(rate: float, random: Random, start: float) -> Iterator[float]:
    """A Poisson process: as independent visitors come, ``rate`` of them a second."""
    due = start
    while True:
        due += random.expovariate(rate)
        yield due


def steady(rate: float, start: float) -> Iterator[float]:
    """One every 1/``rate`` s, the first at once."""
    return (start + number / rate for number in count())


def moments(pace: str, rate: float, seed: int) -> Iterator[float]:
    """When the requests of a load are due that begins now."""
    start = time.monotonic()
    return steady(rate, start) if pace == STEADY else poisson(rate, Random(seed), start)


def not_missed(due: Iterable[float], now: Callable[[], float] = time.monotonic) -> Iterator[float]:
    """The due times that have not passed: what was missed is not made up for by a burst."""
    return (moment for moment in due if moment >= now())


@dataclass(frozen=True)
class Session:
    """A visitor who is logged in: the cookies, and the token that the site's forms must carry."""

    cookie: str
    token: str


@dataclass(frozen=True)
class LoadSettings:
    """A load. ``rate``: requests a second; None: ``clients`` ask without a pause, to find the capacity.

    ``writes`` is the share of POSTs, ``fresh`` the share that opens a connection of its own. Requests are numbered from
    ``first``; a POST's idempotency key is ``tag-number``, and its text is its key. ``text``: what answers are searched
    for.
    """

    rate: float | None
    seed: int
    tag: str
    sessions: Sequence[Session]
    first: int = 0
    writes: float = 0.25
    fresh: float = 0.1
    patience_s: float = 3.0
    clients: int = 16
    pace: str = POISSON
    text: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> LoadSettings:
        return cls(**{**raw, "sessions": [Session(**session) for session in raw["sessions"]]})

    def key(self, number: int) -> str:
        return f"{self.tag}-{number}"


@dataclass
class Outcome:
    """The outcome of a request. ``time``: when it was due (s since 1970); ``latency_s`` counts from then.

    ``late_s``: how much later it was begun, because the asking machine was busy. ``message``: the number that the site
    gave an acknowledged POST. ``shows``: the load's ``text`` is in the answer.
    """

    number: int
    time: float
    method: str
    ok: bool = False
    status: int | None = None
    server: str | None = None
    latency_s: float = 0.0
    late_s: float = 0.0
    new_connection: bool = False
    key: str | None = None
    message: int | None = None
    error: str | None = None
    request_id: str | None = None
    shows: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def log_in(client: Inside, count: int) -> list[Session]:
    """Make accounts and log them in. Raises FoobarError with the program's words."""
    done = client.run((sys.executable, "-m", GENERATOR, "log-in", str(count)), seconds=60, environment=ENVIRONMENT)
    if done.returncode:
        raise FoobarError("the load's accounts could not be made", detail=done.stderr)
    return [Session(**session) for session in json.loads(done.stdout)]


@contextmanager
def loading(client: Inside, settings: LoadSettings, out: IO[str]) -> Iterator[None]:
    """The load runs while the block does; its outcomes are added to ``out``, one JSON object a line.

    The block begins when the first is there. When it ends, requests that have begun are still waited for. Raises
    FoobarError when the generator broke.
    """
    first = threading.Event()

    def hear(line: str) -> None:
        out.write(line)
        first.set()

    with HostWorker("load", client, GENERATOR, asdict(settings), hear) as worker:
        _wait_for(first, worker)
        yield


def _wait_for(first: threading.Event, worker: HostWorker) -> None:
    def look() -> str | None:
        worker.check()
        return None if first.is_set() else "no answer"

    wait.until(look, what="the load's first answer", seconds=FIRST_SECONDS)


def outcomes(file: Path) -> list[Outcome]:
    """A file's outcomes, by their due time."""
    with file.open() as lines:
        loaded = [Outcome(**json.loads(line)) for line in lines]
    return sorted(loaded, key=lambda outcome: (outcome.time, outcome.number))


def compress(folder: Folder, name: str) -> None:
    """Put ``name.gz`` in a file's place."""
    with (
        (folder.path / name).open("rb") as source,
        folder.create(f"{name}.gz") as packed,
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as target,
    ):
        shutil.copyfileobj(source, target)
    folder.remove(name)


# --- compact columns for evidence.json -----------------------------------------------------------------------------

TICK = 1e-4  # s: times in columns are whole numbers of it


def columns(done: Iterable[Outcome], servers: Sequence[str]) -> dict[str, Any]:
    """Outcomes, sorted by due time, as columns: a tenth of their size as objects.

    ``due`` and ``latency`` in ticks, ``due`` since the one before (the first since ``began``); ``server`` is a letter
    each (a is the first server, - none), ``method`` G or P, ``ok`` and ``new`` 0 or 1; ``message`` has an entry for
    each POST. ``errors``: position -> what went wrong.
    """
    done = list(done)
    letters = {name: chr(ord("a") + number) for number, name in enumerate(servers)}
    began = done[0].time if done else 0.0
    moments = [round((outcome.time - began) / TICK) for outcome in done]
    return {
        "began": began,
        "servers": list(servers),
        "number": _gaps([outcome.number for outcome in done]),
        "due": _gaps(moments),
        "latency": [round(outcome.latency_s / TICK) for outcome in done],
        "method": "".join(outcome.method[0] for outcome in done),
        "ok": "".join("01"[outcome.ok] for outcome in done),
        "new": "".join("01"[outcome.new_connection] for outcome in done),
        "server": "".join(letters.get(outcome.server or "", "-") for outcome in done),
        "message": [outcome.message for outcome in done if outcome.method == "POST"],
        "late": [round(outcome.late_s / TICK) for outcome in done],
        "errors": {str(position): outcome.error for position, outcome in enumerate(done) if not outcome.ok},
    }


def rows(table: Mapping[str, Any]) -> list[Outcome]:
    """The outcomes that columns hold; raises ValueError when the columns do not fit each other."""
    names = dict(zip("abcdefghijklmnopqrstuvwxyzABCD", table["servers"], strict=False))
    messages = iter(table["message"])
    moments = _sums(table["due"])
    unpacked = []
    parts = (moments, _sums(table["number"]), table["latency"], table["late"])
    marks = (table["method"], table["ok"], table["new"], table["server"])
    for position, (due, number, latency, late, method, ok, new, server) in enumerate(zip(*parts, *marks, strict=True)):
        unpacked.append(
            Outcome(
                number=number,
                time=table["began"] + due * TICK,
                method={"G": "GET", "P": "POST"}[method],
                ok=ok == "1",
                server=names.get(server),
                latency_s=latency * TICK,
                late_s=late * TICK,
                new_connection=new == "1",
                message=next(messages) if method == "P" else None,
                error=table["errors"].get(str(position)),
            )
        )
    return unpacked


def _gaps(values: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip([0, *values], values, strict=False)]


def _sums(gaps: Iterable[int]) -> list[int]:
    total, sums = 0, []
    for gap in gaps:
        total += gap
        sums.append(total)
    return sums
