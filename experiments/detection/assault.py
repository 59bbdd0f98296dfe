"""One attack carried out, with or without a detector: what it sent, and what became of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from controllers.denied import Headers
from controllers.policy import decide
from experiments.detection import scoring, webattacker
from experiments.detection.attacks import DENIED, FAILURES, FORGED, LOGIN, PROBING, SCAN, Attack
from experiments.detection.evidence import AttackRow
from experiments.detection.lookout import Lookout
from experiments.detection.scoring import Deed
from experiments.instruments.capture import capturing
from experiments.instruments.worker import ENVIRONMENT
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from subprocess import Popen

    from experiments.engine.run import Run
    from testbed.testbed import Testbed
    from topo.plan import Plan

EVERY = 0.02
#: a block is given so long to show that nothing follows; a program so long to end
AFTER_SECONDS, END_SECONDS = 0.5, 3.0


@dataclass
class Assault:
    """Attacks on a testbed, beside a lookout."""

    testbed: Testbed
    run: Run
    lookout: Lookout

    def carried_out(self, attack: Attack, *, control: bool, patient: bool) -> AttackRow:
        """The row of an attack. ``patient``: somebody watches, and is given the time to say so."""
        self.run.mark("attack", attack=attack.name, detector=not control)
        packets: dict[str, bytes] = {}
        with ExitStack() as stack:
            outputs = {host: stack.enter_context(tempfile.TemporaryFile("w+")) for host in attack.programs}
            with self._captured(attack, packets):
                with self._programs(attack, outputs) as processes:
                    began = time.time()
                    self._go_on(attack, processes, began)
                    ended = time.time()
                if patient:
                    self._wait(attack, began, ended + attack.patience)
            deeds = self._deeds(attack, outputs, packets)
        return self._row(attack, control, began, ended, deeds)

    @contextmanager
    def _captured(self, attack: Attack, packets: dict[str, bytes]) -> Iterator[None]:
        """In this block what the sources send is captured; then ``packets`` holds it, by host."""
        if not attack.captured:
            yield
            return
        hosts = [self.testbed.plan.host(name) for name in attack.sources]
        wanted = [(self.testbed.inside(host.name), host.interface) for host in hosts]
        only = {host.name: f"ether src {host.mac}" for host in hosts}
        with capturing(wanted, self.run.folder, only) as captures:
            yield
        for capture in captures:
            packets[capture.inside.name] = capture.file.read_bytes()
            self.run.folder.remove(capture.file.name)

    @contextmanager
    def _programs(self, attack: Attack, outputs: Mapping[str, IO[str]]) -> Iterator[list[Popen[Any]]]:
        processes = []
        try:
            for host, words in attack.programs.items():
                inside = self.testbed.inside(host)
                processes.append(
                    inside.popen(words, environment=ENVIRONMENT, stdout=outputs[host], stderr=outputs[host])
                )
            yield processes
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                _ended(process)

    def _go_on(self, attack: Attack, processes: list[Popen[Any]], began: float) -> None:
        """Until it is over, or has been stopped."""
        deadline = began + attack.seconds
        while time.time() < deadline and any(process.poll() is None for process in processes):
            time.sleep(EVERY)
            if not attack.lasting and self._stopped(attack, began):
                deadline = min(deadline, time.time() + AFTER_SECONDS)

    def _stopped(self, attack: Attack, began: float) -> bool:
        return all(self.lookout.blocked(host, began) is not None for host in attack.sources)

    def _wait(self, attack: Attack, began: float, deadline: float) -> None:
        while time.time() < deadline and not (self._seen(attack, began) and self._stopped(attack, began)):
            time.sleep(EVERY)

    def _seen(self, attack: Attack, began: float) -> dict[str, Any] | None:
        """The event that named the last of the sources."""
        events = [self.lookout.named(host, began) for host in attack.sources]
        known = [event for event in events if event]
        return max(known, key=lambda event: event["at"]) if len(known) == len(events) else None

    def _deeds(
        self, attack: Attack, outputs: Mapping[str, IO[str]], packets: Mapping[str, bytes]
    ) -> dict[str, list[Deed]]:
        """By host: what its program says that it did, or what was captured. Who asks one target only sends packets."""
        deeds: dict[str, list[Deed]] = {}
        for host, output in outputs.items():
            output.seek(0)
            rows = webattacker.lines(output.read())
            deeds[host] = [Deed(row["time"], row["count"], status=row.get("status")) for row in rows]
        for host, captured in packets.items():
            source = self.testbed.plan.host(host).ip
            sent = scoring.sent_by(source, captured, self._allowed(host))
            deeds[host] = [replace(deed, target=None) if attack.family == PROBING else deed for deed in sent]
        return deeds

    def _allowed(self, source: str) -> Any:
        plan, rules = self.testbed.plan, self.testbed.rules
        return lambda headers: may_pass(plan, rules, source, headers)

    def _row(
        self, attack: Attack, control: bool, began: float, ended: float, deeds: Mapping[str, list[Deed]]
    ) -> AttackRow:
        seen = self._seen(attack, began)
        blocks = [self.lookout.blocked(host, began) for host in attack.sources]
        times = [block for block in blocks if block is not None]
        blocked = max(times) if len(times) == len(blocks) else None
        sent = sum(scoring.in_all(own) for own in deeds.values())
        before = sum(
            scoring.in_all(deeds[host], block or float("inf"))
            for host, block in zip(attack.sources, blocks, strict=True)
        )
        return {
            "attack": attack.name,
            "family": attack.family,
            "kinds": list(attack.kinds),
            "sources": list(attack.sources),
            "control": control,
            "began": began,
            "ended": ended,
            "sent": sent,
            "whole": max(attack.whole, sent),
            "before": 0 if attack.family == FORGED else before,
            "owed": owed(attack, deeds),
            "seen": seen["at"] if seen else None,
            "kind": seen["kind"] if seen else None,
            "blocked": blocked,
            "misnamed": sorted(self.lookout.blamed(began) - set(attack.sources)),
            "served": None,
        }


def _ended(process: Popen[Any]) -> None:
    with suppress(DeadlineError):  # it does not listen, and is killed
        wait.for_process(process, ("the attack's program",), END_SECONDS)


def owed(attack: Attack, deeds: Mapping[str, list[Deed]]) -> float | None:
    """When the last of the sources had shown enough of itself."""
    nth = {SCAN: (scoring.nth_denied, DENIED), LOGIN: (scoring.nth_failure, FAILURES)}.get(attack.family)
    if nth is None:
        return None
    times = [nth[0](own, nth[1]) for own in deeds.values()]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def may_pass(plan: Plan, rules: Any, source: str, headers: Headers) -> bool:
    """Does the policy let a packet through, as far as its first bytes say?"""
    target = next((host.name for host in plan.hosts if host.ip == headers.dst), None)
    if target is None or headers.proto == "arp":
        return target is not None
    rule = decide(rules, plan, source, target, headers.proto, headers.port or 0)
    return rule.action == "allow"
