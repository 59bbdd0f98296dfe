"""The services of a host, by their processes: which of them run. Nothing is sent, so that no log has a line of it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from services.monitoring.metric import GAUGE, Metric
from services.service import Service

CONFIGURATION = re.compile(r"/run/\S+")
STOPPED = (b"T", b"t")


def word(service: Service) -> str:
    """A word of the command line by which a service's first process is known: its configuration's path.

    One that a script starts has its program's name.
    """
    command = service.command()
    paths = CONFIGURATION.search(" ".join(command))
    return paths[0] if paths and command[0] != "sh" else service.product or command[0]


class Daemons:
    """``words``: by service. One runs when there is a session whose first process has the word on its command line,
    and none of the session stands still (SIGSTOP)."""

    def __init__(self, words: Mapping[str, str], proc: str = "/proc") -> None:
        self._words = {service: word.encode() for service, word in words.items()}
        self._proc = Path(proc)

    def metric(self) -> Metric:
        metric = Metric("host_service_running", GAUGE, ("service",))
        lines = self._running()
        for service, known in self._words.items():
            metric.add(int(any(known in line for line in lines)), service)
        return metric

    def _running(self) -> list[bytes]:
        """The command line of the first process of each session in which nothing stands still."""
        sessions: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for pid in filter(str.isdigit, os.listdir(self._proc)):
            with suppress(OSError):  # it has ended meanwhile
                fields = (self._proc / pid / "stat").read_bytes().rpartition(b")")[2].split()
                sessions[fields[3]].append(fields[0])
        lines = []
        for session, states in sessions.items():
            if not any(state in STOPPED for state in states):
                with suppress(OSError):
                    lines.append((self._proc / session.decode() / "cmdline").read_bytes())
        return lines
