"""The store of metrics as it is configured, and what a monitoring client offers it after an outage."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fakes import free_port

from services.monitoring import prometheus
from topo import wait

HOUR_MS = 3_600_000
pytestmark = pytest.mark.skipif(not shutil.which("vmagent"), reason="vmagent is not installed")


class StoreAndClient:
    """Prometheus with one setting of ours, and a vmagent that pushes what it is given."""

    def __init__(self, folder: Path, window: str) -> None:
        self.folder, self.store, self.client = folder, free_port(), free_port()
        (folder / "store.json").write_text(json.dumps({"storage": {"tsdb": {"out_of_order_time_window": window}}}))
        (folder / "client.yml").write_text("{}")

    def commands(self) -> Iterator[tuple[str, ...]]:
        address = f"127.0.0.1:{self.store}"
        yield (
            "prometheus",
            f"--config.file={self.folder / 'store.json'}",
            f"--web.listen-address={address}",
            "--web.enable-remote-write-receiver",
            f"--storage.tsdb.path={self.folder / 'data'}",
        )
        yield (
            "vmagent",
            f"-promscrape.config={self.folder / 'client.yml'}",
            f"-remoteWrite.url=http://{address}/api/v1/write",
            f"-remoteWrite.tmpDataPath={self.folder / 'queue'}",
            "-remoteWrite.flushInterval=200ms",
            "-remoteWrite.queues=1",
            f"-httpListenAddr=127.0.0.1:{self.client}",
        )

    def push(self, name: str, at_ms: float) -> None:
        line = f"{name} 1 {at_ms:.0f}\n".encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.client}/api/v1/import/prometheus", line, 5).close()

    def lacks(self, name: str) -> str | None:
        query = urllib.parse.urlencode({"query": name})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.store}/api/v1/query?{query}", timeout=5) as answer:
            found: list[Any] = json.load(answer)["data"]["result"]
        return None if found else f"no {name}"

    @property
    def complains(self) -> str | None:
        return None if "too old sample" in (self.folder / "vmagent").read_text() else "no complaint"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], StoreAndClient]]:
    with ExitStack() as stack:

        def start(window: str) -> StoreAndClient:
            both = StoreAndClient(tmp_path, window)
            for command in both.commands():
                log = stack.enter_context((tmp_path / command[0]).open("wb"))
                process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
                stack.callback(process.kill)
            for port, path in ((both.store, "/-/ready"), (both.client, "/health")):
                wait.until(lambda port=port, path=path: _down(port, path), what=path, seconds=20)  # type: ignore[misc]
            return both

        yield start


def _down(port: int, path: str) -> str | None:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
    except OSError as error:
        return str(error)
    return None


def old_then_new(both: StoreAndClient) -> None:
    """A sample of now, one of the same series that is an hour older, and after that one of another series."""
    both.push("first", time.time() * 1000)
    wait.until(lambda: both.lacks("first"), what="the first", seconds=20)
    both.push("first", time.time() * 1000 - HOUR_MS)
    both.push("second", time.time() * 1000)


def test_a_sample_from_long_ago_stops_none_that_come_after_it(started: Callable[[str], StoreAndClient]) -> None:
    """A client that was killed offers a block again that was taken long ago."""
    both = started(prometheus.KEPT)
    old_then_new(both)
    wait.until(lambda: both.lacks("second"), what="the second", seconds=20)


def test_with_a_shorter_window_it_would(started: Callable[[str], StoreAndClient]) -> None:
    both = started("10m")
    old_then_new(both)
    wait.until(lambda: both.complains, what="the refusal", seconds=20)
    assert both.lacks("second")
