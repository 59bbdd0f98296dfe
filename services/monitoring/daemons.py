"""The services of a host, by their processes: which of them run. Nothing is sent, so that no log has a line of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from services.monitoring.metric import GAUGE, Metric

if TYPE_CHECKING:  # the exporter needs no templates
    from services.service import Service

#: in a word of a command line: alone, or what an option is given
CONFIGURATION = re.compile(r"(?:[^/]*=)?(/run/\S+)")
STOPPED = (b"T", b"t")


def word(service: Service) -> str:
    """A word of the command line by which a service's first process is known: its configuration's path.

    One that a script starts has its program's name.
    """
    program, *words = service.command()  # whose own path may have a folder of that name
    found = next(filter(None, map(CONFIGURATION.match, words)), None)
    return found[1] if found and program != "sh" else service.product or program


class Daemons:
    """``words``: by service. One runs when there is a session whose first process has the word on its command line,
    and none of the session stands still (SIGSTOP)."""

    def __init__(self, words: Mapping[str, str], proc: str = "/proc") -> None:
        self._words = {service: word.encode() for service, word in words.items()}
        self._proc = proc

    def metric(self, sessions: Mapping[str, Collection[bytes]]) -> Metric:
        """By the states of the processes of each session."""
        metric = Metric("host_service_running", GAUGE, ("service",))
        lines = [*self._running(sessions)]
        for service, known in self._words.items():
            metric.add(int(any(known in line for line in lines)), service)
        return metric

    def _running(self, sessions: Mapping[str, Collection[bytes]]) -> Iterator[bytes]:
        """The command line of the first process of each session in which nothing stands still."""
        for session, states in sessions.items():
            if not any(state in STOPPED for state in states):
                with suppress(OSError):  # it has ended
                    yield Path(f"{self._proc}/{session}/cmdline").read_bytes()
