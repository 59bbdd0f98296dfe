"""Requests, counted from the access logs of nginx and the application: each line, so that sums are exact."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from services.monitoring.logfollower import LogFollower
from services.monitoring.metric import COUNTER, HISTOGRAM, Durations, Labels, Metric, counters, value

#: the groups of paths, each a page; all below STATIC are one
PATHS = frozenset(
    ("/", "/healthz", "/messages", "/login", "/logout", "/signup", "/robots.txt", "/favicon.ico"),
)
STATIC, OTHER = "/static/", "other"
LOGIN, OK, FAILED = "/login", "ok", "failed"
#: the answers to a log-in, which is a POST
LOGINS = {303: OK, 401: FAILED, 429: FAILED}


class Request(NamedTuple):
    """One line of a log. ``path``: its group."""

    method: str
    path: str
    status: int
    seconds: float


def parsed(line: bytes) -> Request:
    """A line of a log. Raises ValueError for any other bytes."""
    try:
        row = json.loads(line)
        words = row["request"].split(" ")
        status, seconds = int(row["status"]), float(row["seconds"])
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no request: {error}") from None
    if not (100 <= status <= 999 and 0 <= seconds < float("inf")):
        raise ValueError(f"no status, or no time: {status}, {seconds}")
    return Request(words[0], group(words[1]) if len(words) == 3 else OTHER, status, seconds)


def group(target: str) -> str:
    """The group of a request's target: there are few, whatever strangers ask for."""
    path = target.partition("?")[0]
    if path in PATHS:
        return path
    return STATIC if path.startswith(STATIC) else OTHER


class AccessLog:
    """Counts of a log's requests, and of lines that are none. ``log``: its path."""

    def __init__(self, log: str, job: str) -> None:
        self._follower = LogFollower(log)
        self._job = job
        self._refused = 0
        self.requests: Counter[Labels] = Counter()
        self.durations: defaultdict[str, Durations] = defaultdict(Durations)
        self.logins: Counter[Labels] = Counter({(OK,): 0, (FAILED,): 0})
        # before the first answer: counts that rose later would be taken for news
        self._count(self._follower.all_lines())

    def _count(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                request = parsed(line)
            except ValueError:
                self._refused += 1
                continue
            self.requests[request.path, str(request.status)] += 1
            self.durations[request.path].add(request.seconds)
            if request.path == LOGIN and request.method == "POST" and request.status in LOGINS:
                self.logins[(LOGINS[request.status],)] += 1

    def metrics(self) -> Iterator[Metric]:
        self._count(self._follower.lines())
        yield counters(f"{self._job}_requests_total", ("path", "status"), self.requests)
        yield self._seconds()
        yield value(f"{self._job}_lines_refused_total", self._refused + self._follower.refused, COUNTER)

    def _seconds(self) -> Metric:
        metric = Metric(f"{self._job}_request_seconds", HISTOGRAM, ("path",))
        for path, durations in self.durations.items():
            metric.samples.extend(durations.samples(path))
        return metric


class WebRequests(AccessLog):
    """nginx's."""

    def __init__(self, log: str) -> None:
        super().__init__(log, "web")


class AppRequests(AccessLog):
    """The application's, its log-ins, and how many workers it has. ``module``: a word of its command line."""

    def __init__(self, log: str, module: str) -> None:
        super().__init__(log, "app")
        self._workers = Workers(module)

    def metrics(self) -> Iterator[Metric]:
        yield from super().metrics()
        yield counters("app_logins_total", ("result",), self.logins)
        yield value("app_workers", self._workers.count())


class Workers:
    """The processes that serve, of which each is a child of the one that was started."""

    def __init__(self, module: str, proc: str = "/proc") -> None:
        self._module = module.encode()
        self._proc = proc
        self._first: str | None = None

    def count(self) -> int:
        """Those that there are now."""
        for find in (self._known, self._found):
            with suppress(OSError):
                if (first := find()) is not None and self._has_module(first):
                    self._first = first
                    return len(_read(f"{self._proc}/{first}/task/{first}/children").split())
        return 0

    def _known(self) -> str | None:
        return self._first

    def _found(self) -> str | None:
        """The process with that word on its command line whose parent has it not."""
        for pid in filter(str.isdigit, os.listdir(self._proc)):
            with suppress(OSError):
                parent = _read(f"{self._proc}/{pid}/stat").rpartition(b")")[2].split()[1].decode()
                if self._has_module(pid) and (parent == "0" or not self._has_module(parent)):
                    return pid
        return None

    def _has_module(self, pid: str) -> bool:
        return self._module in _read(f"{self._proc}/{pid}/cmdline").split(b"\0")


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
