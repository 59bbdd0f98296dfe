"""Negative controls: a part of the monitoring is made to lie, so that the experiment is seen to find it out."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from services.monitoring import exporter, logshipper, prometheus
from services.service import listens
from topo import plan as roles
from topo import wait
from topo.paths import PROJECT

if TYPE_CHECKING:
    from testbed.testbed import Testbed

TRUE_PORT = 9101
SECONDS = 10.0
#: an alert that is told half a minute after what it tells of
LATE = '"for": "30s"'
IN_MEMORY = 'queue.type="linkedList" queue.size="100000" queue.dequeueBatchSize="1024"'


@contextmanager
def nothing(_: Testbed) -> Iterator[None]:
    """All of it tells the truth."""
    yield


@contextmanager
def rule(testbed: Testbed) -> Iterator[None]:
    """Every alert waits for half a minute before it fires."""
    name = testbed.plan.host_of(roles.MONITOR).name
    rules = testbed.inside(name).path(prometheus.JUDGED)
    right = rules.read_text()
    unit = testbed.supervisor.unit(f"{name}/{roles.METRICS}")

    def put(text: str) -> None:
        rules.write_text(text)
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
    config = json.loads(inside.path(exporter.CONFIG).read_text())
    elsewhere = f"{exporter.CONFIG}.elsewhere"
    inside.path(elsewhere).write_text(json.dumps({**config, "port": TRUE_PORT}))
    testbed.supervisor.stop(service_id)
    environment = {"PYTHONPATH": str(PROJECT)}
    programs = (
        ("services.monitoring", elsewhere),
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
    """The balancer's shipper keeps lines in its memory that nobody has confirmed, and loses them when it is killed."""
    name = testbed.plan.host_of(roles.BALANCER).name
    config = testbed.inside(name).path(logshipper.CONFIG)
    service_id, right = f"{name}/{logshipper.LogShipper.role}", config.read_text()

    def put(text: str) -> None:
        config.write_text(text)
        testbed.supervisor.stop(service_id)
        testbed.restart(service_id)

    put(right.replace('queue.type="direct"', IN_MEMORY))
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
