"""Measuring ``monitoring``: a clean phase, processor time, one fault after the other, the monitoring host away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from experiments.instruments import load
from experiments.monitoring import processortime, spoiling, storedlines
from experiments.monitoring.evidence import (
    AlertedFault,
    AwayRow,
    FiringRow,
    MonitoringEvidence,
    StepRow,
)
from experiments.monitoring.expectations import Expectation, expectations
from experiments.monitoring.sums import SPAN_S, counted, longest_step, seconds_of, whiles
from services.monitoring import query
from services.monitoring.logshipper import LogShipper
from testbed.faults.injection import injected, selected
from testbed.faults.kind import Fault
from topo import plan as roles
from topo import wait
from topo.errors import DeadlineError, RefusedError, UsageError

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

REQUESTS = "requests.jsonl"
COUNTED = 'web_requests_total{path=~"/|/messages"}'
#: s: until what was done last has been counted and pushed; how long an alert is waited for, and its end
QUIET_SECONDS, ALERT_SECONDS, CALM_SECONDS = 2.5, 8.0, 60.0
#: s: until all that was kept while the monitoring host was away has come; with it the samples before and after
CATCH_UP_SECONDS, AROUND_SECONDS = 45.0, 2.0
STEP = 1_000_000
#: lines that a shipper which is killed may have taken up and not handed over
SHIPPER, SHIPPER_LINES = LogShipper.role, 3


def measure(testbed: Testbed, run: Run) -> MonitoringEvidence:
    """Everything, in that order."""
    if not testbed.profile.monitored:
        raise UsageError("monitoring: --monitoring off has nothing to measure; boot with --monitoring on")
    spoilt = str(run.options["spoil"])
    with spoiling.spoilt(testbed, spoilt):
        return Measurement(testbed, run).all(spoilt)


def answered(look: Callable[[], str | None]) -> Callable[[], str | None]:
    """A look that waits on where Prometheus, short of a processor, gives no answer in time."""

    def looked() -> str | None:
        try:
            return look()
        except RefusedError as error:
            return str(error)

    return looked


@dataclass
class Measurement:
    """One run on one testbed."""

    testbed: Testbed
    run: Run

    def __post_init__(self) -> None:
        plan = self.testbed.plan
        self.plan = plan
        self.tool = self.testbed.inside(plan.host_of(roles.MONITOR).name)
        self.client = self.testbed.inside(plan.host_of(roles.CLIENT).name)
        self.settings = load.LoadSettings(
            rate=float(self.run.options["rate"]),
            seed=self.run.seed,
            tag=f"monitoring-{self.run.random.getrandbits(32):08x}",
            sessions=load.log_in(self.client, 2),
            pace=load.STEADY,
        )
        self.loads = 0

    def all(self, spoilt: str) -> MonitoringEvidence:
        began = time.time()
        wanted = expectations(self.plan)
        evidence: dict[str, Any] = {"rate": self.settings.rate, "spoilt": spoilt, "scheduled": len(wanted)}
        evidence |= self._clean(float(self.run.options["clean"]))
        evidence["processor"] = processortime.compared(self.testbed, self.run)
        evidence["faults"], evidence["stopped"] = self._faults(wanted)
        evidence["away"] = list(self._away(float(self.run.options["away"]))) if not evidence["stopped"] else []
        evidence["firing"] = self._fired(began)
        return MonitoringEvidence(**evidence)

    @contextmanager
    def _load(self, name: str, **changes: Any) -> Iterator[None]:
        """Under load; its requests go to a file of that name."""
        first = self.loads * STEP
        self.loads += 1
        settings = replace(self.settings, first=first, seed=self.run.random.getrandbits(32), **changes)
        with self.run.folder.create(name, "w") as out, load.loading(self.client, settings, out):
            yield

    # --- the clean phase -------------------------------------------------------------------------------------------

    def _clean(self, seconds: float) -> dict[str, Any]:
        with self.run.phase("clean", seconds) as progress:
            time.sleep(QUIET_SECONDS)  # signing up has been counted
            before, began = self._counters(), time.time()
            with self._load(REQUESTS):
                for _ in range(round(seconds)):
                    time.sleep(seconds / round(seconds))
                    progress.advance(seconds / round(seconds))
            time.sleep(QUIET_SECONDS)
            after, ended = self._counters(), time.time()
        done = load.outcomes(self.run.folder.path / REQUESTS)
        load.compress(self.run.folder, REQUESTS)
        clean = {
            "clean": (began, ended),
            "counts": list(counted(done, before, after)),
            "seconds": list(seconds_of(done, self._history(COUNTED, began, ended))),
            # the newest sample may be on its way
            "steps": self._steps(began, ended - QUIET_SECONDS),
            "logs": storedlines.compared(self.testbed, done),
        }
        for name, value in clean.items():
            self.run.keep(name, value)
        return clean

    def _counters(self) -> dict[tuple[str, str, str], float]:
        """The requests counted so far, by server, path and status."""
        found = query.now(self.tool, self.plan, COUNTED, seconds=3.0)
        return {(labels["host"], labels["path"], labels["status"]): value for labels, value in found}

    def _history(self, selector: str, began: float, ended: float) -> list[tuple[query.Labels, query.Samples]]:
        return query.history(self.tool, self.plan, selector, began, ended)

    def _steps(self, began: float, ended: float) -> list[StepRow]:
        """Of each watched host but the monitoring host itself, which may be away."""
        found = {labels["host"]: samples for labels, samples in self._history('up{job="host"}', began, ended)}
        names = [host.name for host in self.plan.watched if roles.MONITOR not in host.roles]
        return [longest_step(name, [at for at, _ in found.get(name, [])], began, ended) for name in names]

    # --- faults ----------------------------------------------------------------------------------------------------

    def _faults(self, wanted: Sequence[Expectation]) -> tuple[list[AlertedFault], str | None]:
        rows: list[AlertedFault] = []
        self.run.keep("faults", rows)
        with self.run.phase("faults", len(wanted)) as progress, self._load("faults.jsonl"):
            for expectation in wanted:
                try:
                    self._calm()
                    rows.append(self._one(expectation))
                except (DeadlineError, RefusedError) as error:
                    return rows, f"{expectation.name}: {error}"
                progress.advance(1)
            with_calm = self._problem()
        load.compress(self.run.folder, "faults.jsonl")
        return rows, with_calm

    def _problem(self) -> str | None:
        try:
            self._calm()
        except DeadlineError as error:
            return str(error)
        return None

    def _one(self, expectation: Expectation) -> AlertedFault:
        fault = selected(self.testbed, expectation.fault)[0]
        hosts = expectation.hosts or (fault.target,)
        with injected(self.testbed, fault, mark=self.run.mark) as injection:
            before: tuple[float, str] | None = None
            with suppress(RefusedError):  # no answer: what is seen from now on counts, which is later
                before = self._told(expectation.alerts, hosts, injection.began)
            fired, alert = before or self._wait_for(expectation.alerts, hosts)
            return {
                "fault": expectation.name,
                "alerts": list(expectation.alerts),
                "hosts": list(hosts),
                "began": injection.began,
                "late_s": expectation.late_s,
                "fired": fired,
                "alert": alert,
            }

    def _told(self, alerts: Sequence[str], hosts: Sequence[str], began: float) -> tuple[float, str] | None:
        """The same of what has fired by now: a fault that is made of several is in force some time after it began."""
        found = self._history('ALERTS{alertstate="firing"}', began, time.time())
        fired = [
            (at, labels["alertname"])
            for labels, samples in found
            if labels["alertname"] in alerts and labels.get("host") in hosts
            for at, _ in samples
            if at > began
        ]
        return min(fired, default=None)

    def _wait_for(self, alerts: Sequence[str], hosts: Sequence[str]) -> tuple[float, str] | tuple[None, None]:
        """When one of these alerts is seen to fire at one of these hosts, and which."""
        seen: list[str] = []

        def look() -> str | None:
            labels = [alert["labels"] for alert in query.firing(self.tool, self.plan)]
            seen[:] = [own["alertname"] for own in labels if own["alertname"] in alerts and own.get("host") in hosts]
            return None if seen else "not firing"

        try:
            wait.until(answered(look), what=" or ".join(alerts), seconds=ALERT_SECONDS, every=0.05)
        except DeadlineError:
            return None, None
        return time.time(), seen[0]

    def _calm(self) -> None:
        """No alert is firing. Raises DeadlineError."""

        def look() -> str | None:
            labels = [alert["labels"] for alert in query.firing(self.tool, self.plan)]
            return ", ".join(f"{own['alertname']} of {own.get('host')}" for own in labels) or None

        wait.until(answered(look), what="no alert", seconds=CALM_SECONDS, every=0.1)

    def _fired(self, began: float) -> list[FiringRow]:
        """Every while in which an alert was firing, as Prometheus keeps it."""
        found = self._history('ALERTS{alertstate="firing"}', began, time.time())
        return [
            {"alert": labels["alertname"], "host": labels.get("host", "-"), "began": first, "ended": last}
            for labels, samples in found
            for first, last in whiles([at for at, _ in samples])
        ]

    # --- the monitoring host is away -------------------------------------------------------------------------------

    def _away(self, seconds: float) -> Iterator[AwayRow]:
        name = self.plan.host_of(roles.MONITOR).name
        tools = [service.role for service in self._tools()]
        frozen = [Fault("freeze", name, role) for role in tools]
        balancer = self.plan.host_of(roles.BALANCER).name
        killed = [Fault("kill", name, role) for role in tools]
        shipper = Fault("kill", balancer, SHIPPER)
        yield self._one_away(f"{name} killed", killed, seconds)
        yield self._one_away(f"{name} frozen", frozen, seconds)
        yield self._one_away(f"{name} cut", [Fault("cut", name)], seconds)
        yield self._one_away(f"{name} off", [Fault("off", name)], seconds)
        yield self._one_away(f"{name} killed, then {balancer}'s shipper killed", killed, seconds, shipper)

    def _tools(self) -> list[Any]:
        name = self.plan.host_of(roles.MONITOR).name
        services = [unit.service for unit in self.testbed.supervisor.units if unit.service.host == name]
        return [service for service in services if service.role in (roles.METRICS, roles.LOGS)]

    def _one_away(self, what: str, faults: Iterable[Fault], seconds: float, then: Fault | None = None) -> AwayRow:
        """``then``: a fault at the end of it, of a shipper that has something on its way."""
        file = f"away-{self.loads}.jsonl"
        began = time.time()
        with self.run.phase(what, seconds), self._load(file):
            time.sleep(AROUND_SECONDS)
            with ExitStack() as stack:
                for fault in faults:
                    stack.enter_context(injected(self.testbed, fault, mark=self.run.mark))
                time.sleep(seconds)
                if then:
                    stack.enter_context(injected(self.testbed, then, mark=self.run.mark))
            time.sleep(AROUND_SECONDS)
        ended = time.time()
        done = load.outcomes(self.run.folder.path / file)
        load.compress(self.run.folder, file)

        def lacking() -> str | None:
            steps, lines = self._steps(began, ended), storedlines.compared(self.testbed, done)
            missing = [row["service"] for row in lines if row["stored"] < row["written"]]
            late = [row["host"] for row in steps if row["longest_s"] > SPAN_S]
            return ", ".join([*missing, *late]) or None

        with suppress(DeadlineError):  # the rows say what is missing
            wait.until(lacking, what="what was kept meanwhile", seconds=CATCH_UP_SECONDS, every=0.5)
        lines, steps = storedlines.compared(self.testbed, done), self._steps(began, ended)
        worst = max(steps, key=lambda row: row["longest_s"])
        return {
            "fault": what,
            "seconds": round(ended - began, 1),
            "lines": sum(row["written"] for row in lines),
            "lost": sum(row["written"] - row["stored"] for row in lines),
            "allowed": SHIPPER_LINES if then else 0,
            "longest_step_s": worst["longest_s"],
            "host": worst["host"],
        }
