"""The audit itself: every check's places are looked at side by side, then judged by pure functions.

A look reads facts; it may fail, and then that place is unknown, never passed. ``judge`` gets the facts alone, so that a
test can plant a flaw in them, and see that it is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Generic, TypeVar

from services.gunicorn import Gunicorn
from services.secrets import Secrets
from testbed.audit.finding import SEVERITIES, AuditReport, Finding, Unknown
from testbed.audit.hostprocesses import AuditedProcess, ListeningSocket, listening, processes
from testbed.audit.sitevisit import SiteVisit, visited
from testbed.core import TestbedCore
from topo import wait
from topo.plan import APP, Host

SECONDS = 90.0
F = TypeVar("F")
Result = Iterable["Finding | Unknown"]


class Auditor:
    """The testbed with what several checks want to know of it: read once, by whoever asks first."""

    def __init__(self, testbed: TestbedCore, pool: ThreadPoolExecutor) -> None:
        self.testbed = testbed
        self.plan = testbed.plan
        self._processes = {host.name: pool.submit(self._read, host) for host in self.plan.hosts}
        self._visit = pool.submit(visited, testbed, self.secrets)

    @property
    def secrets(self) -> Secrets:
        """The secrets of this testbed: what must not be found anywhere."""
        unit = self.testbed.supervisor.unit(f"{self.plan.hosts_of(APP)[0].name}/{APP}")
        assert isinstance(unit.service, Gunicorn)
        return unit.service.secrets

    def visit(self) -> SiteVisit:
        """One visit to the site, by a new user."""
        return self._visit.result()

    def processes(self, host: Host) -> Sequence[AuditedProcess]:
        """The processes of a host. Raises OSError."""
        return self._processes[host.name].result()

    def sockets(self, host: Host) -> tuple[ListeningSocket, ...]:
        """The sockets on which a host listens. Raises OSError."""
        pid = self.testbed.inside(host.name).pid
        return listening(str(pid), self.processes(host))

    def _read(self, host: Host) -> Sequence[AuditedProcess]:
        pid = self.testbed.inside(host.name).pid
        services = {
            process: unit.service
            for unit in self.testbed.supervisor.units
            if unit.service.host == host.name and unit.runs
            for process in unit.session.processes()
        }
        return tuple(processes(str(pid), services))


Places = Iterator[tuple[str, Callable[[], F]]]


@dataclass(frozen=True)
class AuditCheck(Generic[F]):
    """``places``: whatever is looked at, each with the look that gives its facts; ``judge`` is pure."""

    name: str
    places: Callable[[Auditor], Places[F]]
    judge: Callable[[F], Result]

    def on(self, where: str, facts: Callable[[], F]) -> list[Finding | Unknown]:
        """The results of one place; a check that throws leaves it unknown."""
        try:
            results = list(self.judge(facts()))
        except Exception as error:  # whatever it chokes on: nothing is known of this place
            return [Unknown(self.name, where, f"{type(error).__name__}: {error}")]
        return [replace(result, check=self.name) for result in results]


def audited(testbed: TestbedCore, checks: Sequence[AuditCheck[Any]], seconds: float = SECONDS) -> AuditReport:
    """Look at everything once; what has given no answer within some seconds is unknown."""
    pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="audit")
    end = monotonic() + seconds * wait.patience()
    try:
        auditor = Auditor(testbed, pool)
        asked = [
            (check, where, pool.submit(partial(check.on, where), facts))
            for check in checks
            for where, facts in check.places(auditor)
        ]
        return collected(checks, [(check, _answer(check, where, future, end)) for check, where, future in asked])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _answer(
    check: AuditCheck[Any], where: str, future: Future[list[Finding | Unknown]], end: float
) -> list[Finding | Unknown]:
    try:
        return future.result(max(0.0, end - monotonic()))
    except Late:
        return [Unknown(check.name, where, "no answer in time")]


def collected(
    checks: Sequence[AuditCheck[Any]], results: Iterable[tuple[AuditCheck[Any], Sequence[Finding | Unknown]]]
) -> AuditReport:
    """The results of all places as a report: the worst finding first. A check without a place is unknown."""
    looked = {check.name: 0 for check in checks}
    found: list[Finding | Unknown] = []
    for check, some in results:
        looked[check.name] += 1
        found += some
    found += [
        Unknown(name, "everywhere", "there was nothing to look at") for name, count in looked.items() if not count
    ]
    findings = [one for one in dict.fromkeys(found) if isinstance(one, Finding)]
    return AuditReport(
        sorted(findings, key=lambda finding: (-SEVERITIES.index(finding.severity), finding.id, finding.where)),
        [one for one in dict.fromkeys(found) if isinstance(one, Unknown)],
        looked,
    )
