"""HTTPS through the testbed against the same daemons and configurations on loopback."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks import child
from benchmarks.comparison import Benchmark, PairedSeries, Report, Size, Target, Tell, columns, say
from testbed.body import Body
from testbed.namespaces import Inside
from topo.errors import EXIT_HOLDS, FoobarError
from topo.plan import CLIENT, SITE

if TYPE_CHECKING:
    from testbed.testbed import Testbed

TESTBED, LOOPBACK = "testbed", "same daemons on loopback"
CONNECTIONS = 16
WARM_UP_SECONDS = 0.5
RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"^\s*(Non-2xx.*|Socket errors.*)$", re.MULTILINE)

# what wrk is told for each measure; handshakes are new connections, each for one small file
ASKED = {
    "static file": (f"https://{SITE}/static/style.css",),
    "dynamic page": (f"https://{SITE}/",),
    "new handshakes": ("--header", "Connection: close", f"https://{SITE}/robots.txt"),
}


class Https(Benchmark):
    """Keep-alive requests for a file of nginx's and for a page of the application's, and new connections."""

    name = "https"
    programs: Mapping[str, str] = {"wrk": "wrk"}

    def measure(self, size: Size, tell: Tell) -> Report:
        return report(child.result(self.name, size, tell))

    def body(self, size: Size) -> Body:
        return Sites(size)


def report(answers: Mapping[str, Any]) -> Report:
    """Series from the answers of the body: for each measure, a row per pair."""
    target = Target("ratio", ">=", 0.70)
    return Report(
        tuple(
            PairedSeries(measure, "1/s", columns(rows, TESTBED), columns(rows, LOOPBACK), LOOPBACK, target)
            for measure, rows in answers.items()
        )
    )


class Sites(Body):
    """Both sites run the whole time; the one that is not measured idles."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def __call__(self, testbed: Testbed) -> int:
        from benchmarks import loopback

        with loopback.site(testbed.plan, testbed.profile, testbed.home / "loopback") as client:
            clients = {TESTBED: testbed.inside(testbed.plan.host_of(CLIENT).name), LOOPBACK: client}
            say("result", self._measure(clients))
        return EXIT_HOLDS

    def _measure(self, clients: Mapping[str, Inside]) -> dict[str, Any]:
        for client in clients.values():
            for asked in ASKED.values():
                rate(client, WARM_UP_SECONDS, asked)
        found: dict[str, list[dict[str, float]]] = {measure: [] for measure in ASKED}
        order = list(clients)
        for pair in range(self.size.pairs):
            say("progress", f"pair {pair + 1} of {self.size.pairs}")
            for measure, asked in ASKED.items():
                found[measure].append({variant: rate(clients[variant], self.size.seconds, asked) for variant in order})
            order.reverse()
        return found


def rate(client: Inside, seconds: float, asked: tuple[str, ...]) -> float:
    """Requests a second. Raises FoobarError when a single one failed: failing is quick."""
    # wrk takes whole seconds only
    options = ("--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{max(1, round(seconds))}s")
    done = client.run(("wrk", *options, *asked), seconds=seconds + 20)
    return parsed(done.stdout, done.stderr)


def parsed(said: str, complained: str = "") -> float:
    """The rate in wrk's report. Raises FoobarError when there is none, or when requests failed."""
    found, failed = RATE.search(said), FAILED.search(said)
    if not found or failed:
        reason = failed[1] if failed else "no rate"
        raise FoobarError(f"wrk: {reason}", detail=(said + complained).strip())
    return float(found[1])
