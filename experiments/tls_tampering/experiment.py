"""``tls_tampering``: somebody who holds the switch in front of a server rewrites its pages. Does anybody notice?

Visitors ask for the home page all the time. Then the balancer's connections to srv1 are sent to a machine in the middle
that adds a line to each page, and after a while to srv1 again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.engine.base import Evidence, Experiment
from experiments.engine.options import Option
from experiments.engine.plots import Mark, Plot, Series
from experiments.engine.verdict import Verdict
from experiments.tls_tampering import redirect
from experiments.tls_tampering.alarms import alarms
from experiments.tls_tampering.checks import story, verdict
from experiments.tls_tampering.impostor import Settings
from services.pki import Authority
from topo import wait
from topo.errors import FoobarError
from topo.paths import PROJECT
from topo.plan import SITE
from topo.tls import means

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

BEFORE_SECONDS, AFTER_SECONDS, LAST_SECONDS = 2.0, 5.0, 30.0
ENVIRONMENT = {"PYTHONPATH": str(PROJECT)}


class TlsTampering(Experiment[Evidence]):
    """Ask, redirect, ask on, heal, ask on; then look whose pages had the line."""

    name = "tls_tampering"
    claim = "nobody between the balancer and a server can change an answer unnoticed"
    options = (
        Option("rate", 20, "requests per second", least=1, most=200),
        Option("seconds", 8, "how long the machine in the middle is there", least=1, most=600),
    )

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        server, line = testbed.plan.servers[0].name, f"New account for payments: {run.random.getrandbits(64):016x}"
        during = float(run.options["seconds"])
        run.keep("server", server)
        with ExitStack() as stack:
            machine = stack.enter_context(redirect.plugged_in(testbed, server, testbed.home / redirect.NAME))
            stack.enter_context(_impostor(testbed, machine, server, line))
            rung = stack.enter_context(alarms(testbed.inside("lb"), server))
            asker = stack.enter_context(_asker(testbed, run, BEFORE_SECONDS + during + AFTER_SECONDS, line))
            _let_pass(run, "before", BEFORE_SECONDS)
            moved = _redirect(testbed, run, server, during)
            _let_pass(run, "after", AFTER_SECONDS)
            asked = _answers(asker)
        return {
            "tls": testbed.profile.tls,
            "server": server,
            "servers": [each.name for each in testbed.plan.servers],
            "line": line,
            "asked": asked,
            "redirect": moved,
            "impostor": _events(testbed.home / redirect.NAME / "log.jsonl"),
            "alarms": rung,
        }

    def judge(self, evidence: Evidence) -> Verdict:
        return verdict(evidence)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        return "\n".join(f"{who:17} {what}" for who, what in story(evidence, verdict.numbers))

    def page(self, evidence: Evidence) -> str:
        from experiments.engine.report import TEMPLATES

        lines = story(evidence, self.judge(evidence).numbers) if "asked" in evidence else []
        return TEMPLATES.get_template("tampering.html.j2").render(evidence=evidence, lines=lines)

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        if not evidence.get("asked"):
            return ()
        start = evidence["asked"][0]["time"]
        moments = evidence["redirect"]
        return (
            Plot(
                title="Requests while the machine in the middle is there",
                x_label="time (s)",
                y_label="latency (ms)",
                kind="scatter",
                log="y",
                series=[
                    Series(label, [row["time"] - start for row in rows], [row["ms"] for row in rows])
                    for label, rows in _by_fate(evidence["asked"]).items()
                ],
                marks=[Mark(moments["from"] - start, "redirected"), Mark(moments["to"] - start, "healed")],
            ),
        )


def _by_fate(asked: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    fates: dict[str, list[Mapping[str, Any]]] = {}
    for row in asked:
        fate = "changed" if row["changed"] else "failed" if row["error"] else f"from {row['server'] or 'nobody'}"
        fates.setdefault(fate, []).append(row)
    return dict(sorted(fates.items()))


def _redirect(testbed: Testbed, run: Run, server: str, seconds: float) -> dict[str, Any]:
    """The redirection for some seconds: from when to when, packets moved, and whether the switch is as before."""
    run.mark("fault", fault=f"redirect {server}")
    began = time.time()
    try:
        with redirect.redirected(testbed, server, means(testbed.profile).web_port):
            run.mark("fault in force", fault=f"redirect {server}")
            _let_pass(run, "redirected", seconds)
            packets, ended = redirect.packets(testbed, server), time.time()
    finally:
        run.mark("healed", fault=f"redirect {server}", as_compiled=redirect.as_compiled(testbed, server))
    return {"from": began, "to": ended, "packets": packets, "healed": redirect.as_compiled(testbed, server)}


def _let_pass(run: Run, phase: str, seconds: float) -> None:
    """Time that is measured: what happens in it is looked at later."""
    with run.phase(phase, seconds) as progress:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.25))
            progress.advance(min(left, 0.25))


@contextmanager
def _impostor(testbed: Testbed, machine: Inside, server: str, line: str) -> Iterator[None]:
    """The proxy runs on the machine that was plugged in, and listens."""
    tls, home = means(testbed.profile), machine.home
    home.mkdir()
    certificate = None
    if tls.inside:
        certificate = home / "forged.pem"
        certificate.touch(0o600)
        certificate.write_text(Authority().issue(SITE, server).bundle)
    settings = Settings(
        server=testbed.plan.host(server).ip,
        port=tls.web_port,
        certificate=str(certificate) if certificate else None,
        proxy=tls.through,
        line=line,
        log=str(home / "log.jsonl"),
    )
    command = (sys.executable, "-m", "experiments.tls_tampering.impostor", json.dumps(asdict(settings)))
    with (home / "output").open("w") as output:
        process = machine.popen(command, environment=ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait.until(
            lambda: None if _events(home / "log.jsonl") else "silent", what="the machine in the middle", seconds=10
        )
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _asker(testbed: Testbed, run: Run, seconds: float, line: str) -> Iterator[subprocess.Popen[str]]:
    words = (f"https://{SITE}/", str(run.options["rate"]), str(seconds), line)
    process = testbed.inside("client").popen(
        (sys.executable, "-m", "experiments.tls_tampering.asker", *words),
        environment=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(asker: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, err = asker.communicate(timeout=LAST_SECONDS)
    if asker.returncode:
        raise FoobarError("the client could not ask", detail=err.strip())
    return [json.loads(row) for row in out.splitlines()]


def _events(log: Path) -> list[dict[str, Any]]:
    """What the machine in the middle wrote down, counted where it is many times the same."""
    if not log.exists():
        return []
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    counts = Counter((row["what"], row.get("why")) for row in rows)
    return [{"what": what, "why": why, "times": times} for (what, why), times in counts.items()]


def main() -> int:
    """``python -m experiments.tls_tampering`` is ``python -m experiments run tls_tampering``."""
    from experiments.__main__ import main as experiments

    return experiments(["run", TlsTampering.name, *sys.argv[1:]])
