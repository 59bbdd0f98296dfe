"""Negative controls: a part of the monitoring is made to lie, so that the experiment is seen to find it out."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from services.monitoring import exporter, logsender, logshipper, prometheus
from services.service import below, listens
from topo import plan as roles
from topo import wait
from topo.paths import PROJECT

if TYPE_CHECKING:
    from testbed.testbed import Testbed

TRUE_PORT = 9101
SECONDS = 10.0
#: an alert that is told half a minute after what it tells of
LATE = '"for": "30s"'


@contextmanager
def nothing(_: Testbed) -> Iterator[None]:
    """All of it tells the truth."""
    yield


@contextmanager
def rule(testbed: Testbed) -> Iterator[None]:
    """Every alert waits for half a minute before it fires."""
    name = testbed.plan.host_of(roles.MONITOR).name
    folder, rules = below(testbed.inside(name), prometheus.JUDGED)
    right = folder.read(rules).decode()
    unit = testbed.supervisor.unit(f"{name}/{roles.METRICS}")

    def put(text: str) -> None:
        folder.write(rules, text)
        assert unit.process is not None
        unit.process.send_signal(signal.SIGHUP)

    put(re.sub(r'"for": "[^"]*"', LATE, right))
    try:
        yield
    finally:
        put(right)


@contextmanager
def lying_exporter(testbed: Testbed) -> Iterator[None]:
    """The last web server's exporter counts two requests in a hundred that never were."""
    name = testbed.plan.hosts_of(roles.WEB)[-1].name
    inside, service_id = testbed.inside(name), f"{name}/{exporter.Exporter.role}"
    folder, config = below(inside, exporter.CONFIG)
    elsewhere = f"{config}.elsewhere"
    folder.write(elsewhere, json.dumps({**json.loads(folder.read(config)), "port": TRUE_PORT}))
    testbed.supervisor.stop(service_id)
    environment = {"PYTHONPATH": str(PROJECT)}
    programs = (
        ("services.monitoring", f"{exporter.CONFIG}.elsewhere"),
        ("experiments.monitoring.liar", str(exporter.PORT), str(TRUE_PORT)),
    )
    running = [inside.popen((sys.executable, "-m", *words), environment=environment) for words in programs]
    try:
        for port in (TRUE_PORT, exporter.PORT):
            wait.until(lambda port=port: listens(inside, port), what="the lying exporter", seconds=SECONDS)  # type: ignore[misc]
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
        testbed.restart(service_id)


@contextmanager
def forgetful_shipper(testbed: Testbed) -> Iterator[None]:
    """The balancer's shipper goes on from what it has read, not from what is confirmed: killed, it loses the rest."""
    name = testbed.plan.host_of(roles.BALANCER).name
    folder, config = below(testbed.inside(name), logshipper.CONFIG)
    service_id, right = f"{name}/{logshipper.LogShipper.role}", folder.read(config).decode()

    def put(text: str) -> None:
        folder.write(config, text)
        testbed.supervisor.stop(service_id)
        testbed.restart(service_id)

    put(json.dumps({**json.loads(right), "noted": logsender.READ}))
    try:
        yield
    finally:
        put(right)


SPOILING: dict[str, Callable[[Testbed], AbstractContextManager[None]]] = {
    "nothing": nothing,
    "exporter": lying_exporter,
    "shipper": forgetful_shipper,
    "rule": rule,
}


def spoilt(testbed: Testbed, what: str) -> AbstractContextManager[None]:
    """That part lies while the block runs."""
    return SPOILING[what](testbed)
