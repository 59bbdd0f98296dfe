"""The measurement of ``tls_tampering``: visitors ask while a machine in the middle comes and goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.instruments import load
from experiments.instruments.load import STEADY, LoadSettings
from experiments.instruments.worker import ENVIRONMENT
from experiments.tls_tampering import redirect
from experiments.tls_tampering.evidence import AlarmLine, ImpostorEvent, Redirection, RequestRow, TamperingEvidence
from experiments.tls_tampering.impostor import ImpostorSettings
from services.pki import Authority
from services.service import Look, below
from topo import jsonlines, wait
from topo.plan import BALANCER, CLIENT, SITE, WEB
from topo.tls import means

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

ASKED = "asked.jsonl"
BEFORE_SECONDS, AFTER_SECONDS, PATIENCE_SECONDS = 2.0, 5.0, 8.0
BALANCER_LOG = "/var/log/haproxy.log"
EVERY_SECONDS = 0.02


def measure(testbed: Testbed, run: Run) -> TamperingEvidence:
    """Ask, redirect, ask on, heal, ask on; then look whose pages had the line."""
    server, line = testbed.plan.hosts_of(WEB)[0].name, f"New account for payments: {run.random.getrandbits(64):016x}"
    during = float(run.options["seconds"])
    run.keep("server", server)
    with ExitStack() as stack:
        machine = stack.enter_context(redirect.plugged_in(testbed, server, testbed.home / redirect.NAME))
        stack.enter_context(_impostor(testbed, machine, server, line))
        rung = stack.enter_context(alarms(testbed.inside(testbed.plan.host_of(BALANCER).name), server))
        with _asking(testbed, run, line) as asked:
            _let_pass(run, "before", BEFORE_SECONDS)
            moved = _redirect(testbed, run, server, during)
            _let_pass(run, "after", AFTER_SECONDS)
    return TamperingEvidence(
        tls=testbed.profile.tls,
        server=server,
        servers=[server.name for server in testbed.plan.hosts_of(WEB)],
        line=line,
        asked=asked,
        redirect=moved,
        impostor=_events(testbed.home / redirect.NAME / "log.jsonl"),
        alarms=rung,
    )


def _redirect(testbed: Testbed, run: Run, server: str, seconds: float) -> Redirection:
    """The redirection for some seconds: from when to when, packets moved, and whether the switch is as before."""
    run.mark("fault", fault=f"redirect {server}")
    began = time.time()
    try:
        with redirect.redirected(testbed, server, testbed.plan.port(WEB)):
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
    if tls.backend_tls:
        certificate = home / "forged.pem"
        certificate.touch(0o600)
        certificate.write_text(Authority().issue(SITE, server).bundle)
    settings = ImpostorSettings(
        server=testbed.plan.host(server).ip,
        port=testbed.plan.port(WEB),
        certificate=str(certificate) if certificate else None,
        proxy=tls.passthrough,
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
def _asking(testbed: Testbed, run: Run, line: str) -> Iterator[list[RequestRow]]:
    """Visitors ask while the block runs, each on a connection of its own; the list is filled when it ends."""
    settings = LoadSettings(
        rate=float(run.options["rate"]),
        pace=STEADY,
        seed=run.seed,
        tag="",
        sessions=(),
        writes=0.0,
        fresh=1.0,
        patience_s=PATIENCE_SECONDS,
        text=line,
    )
    asked = list[RequestRow]()
    with (
        run.folder.create(ASKED, "w") as out,
        load.loading(testbed.inside(testbed.plan.host_of(CLIENT).name), settings, out),
    ):
        yield asked
    asked += [_row(outcome) for outcome in load.outcomes(run.folder.path / ASKED)]
    run.folder.remove(ASKED)


def _row(outcome: load.Outcome) -> RequestRow:
    return {
        "time": outcome.time,
        "ms": round(outcome.latency_s * 1000, 3),
        "status": outcome.status,
        "server": outcome.server,
        "request_id": outcome.request_id,
        "changed": outcome.shows,
        "error": None if outcome.status is not None else outcome.error,
    }


def _events(log: Path) -> list[ImpostorEvent]:
    """The events that the machine in the middle wrote down, equal ones counted."""
    if not log.exists():
        return []
    rows = [row for _, row in jsonlines.rows(log.read_bytes())]
    counts = Counter((str(row["what"]), row.get("why") and str(row["why"])) for row in rows if "what" in row)
    return [{"what": what, "why": why, "times": times} for (what, why), times in counts.items()]


@contextmanager
def alarms(balancer: Look, server: str) -> Iterator[list[AlarmLine]]:
    """Filled while the block runs: {"time", "line"} of each line about the server that is not a request's."""
    found: list[AlarmLine] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(balancer, server, found, done), daemon=True, name="alarms")
    reader.start()
    try:
        yield found
    finally:
        done.set()
        reader.join()


def _read(balancer: Look, server: str, alarms: list[AlarmLine], done: threading.Event) -> None:
    folder, name = below(balancer, BALANCER_LOG)
    with os.fdopen(folder.open(name, os.O_RDONLY), errors="replace") as log:
        log.seek(0, 2)
        partial = ""
        while not done.wait(EVERY_SECONDS):
            *lines, partial = (partial + log.read()).split("\n")
            alarms += [{"time": time.time(), "line": line} for line in lines if is_alarm(line, server)]


def is_alarm(line: str, server: str) -> bool:
    """HAProxy's own words about a server; requests are JSON, and its standard error repeats them in brackets."""
    return f"/{server} " in line and not line.startswith(("{", "["))
