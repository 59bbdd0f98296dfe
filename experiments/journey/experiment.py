"""``journey``: one visit to https://www.foobar.com, followed through every part of the infrastructure.

The write-up (seed 003) tells a request's way in 13 steps. Here each step is looked for in packets of every link, in log
lines and in the SQL the databases were sent. A step nobody has seen is unknown, never assumed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from random import Random
from typing import TYPE_CHECKING, Any

from experiments.engine.base import Evidence, Experiment
from experiments.engine.verdict import Verdict
from experiments.instruments import observe, visitor
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.pcap import Frame, frames
from experiments.journey.checks import steps
from experiments.wire import payloads
from services.gunicorn import PORT as APP_PORT
from services.mariadb.galera import GROUP_PORT
from testbed import databases
from topo.plan import SITE
from topo.tls import means

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class Journey(Experiment[Evidence]):
    """Capture everything, make one visit, then read what was seen."""

    name = "journey"
    claim = "a visit takes the 13 steps of the write-up, each seen in packets, logs or SQL"

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        name, password, message = _visitor(run.random)
        places = [(testbed.inside(host.name), host.interface) for host in testbed.plan.hosts]
        places += [(testbed.inside(server.name), "lo") for server in testbed.plan.servers]
        before = testbed.rule_counters()
        with ExitStack() as stack:
            sql = stack.enter_context(observe.statements(testbed, run.folder))
            captures = stack.enter_context(capturing(places, run.folder))
            with run.phase("visit"):
                seen = visitor.visits(testbed, name, password, [message])
                positions = visitor.wait_for_replicas(testbed)
        with run.phase("reading the captures"):
            rows, dropped = _frames(captures, _marks(seen, message, password))
        return {
            "site": SITE,
            "balance": testbed.profile.balance,
            "tls": asdict(means(testbed.profile)),
            "primary": databases.primary(testbed),
            "group_port": GROUP_PORT if testbed.profile.cluster else None,
            "hosts": {host.name: host.ip for host in testbed.plan.hosts},
            "firewalls": {switch.guards: switch.name for switch in testbed.plan.switches if switch.guards},
            "app_port": APP_PORT,
            "visit": seen,
            "message": message,
            "positions": positions,
            "captures": dropped,
            "frames": rows,
            "logs": observe.request_logs(testbed, run.folder),
            "sql": [row for row in sql if "req=" in row["sql"] or message in row["sql"]],
            "counters": {"before": before, "after": testbed.rule_counters()},
        }

    def judge(self, evidence: Evidence) -> Verdict:
        taken = steps(evidence)
        proved = [step.number for step in taken if step.holds]
        wrong = [step for step in taken if step.holds is False]
        unknown = [step for step in taken if step.holds is None]
        numbers = {
            "steps": len(taken),
            "proved": len(proved),
            "wrong": [step.number for step in wrong],
            "unknown": [step.number for step in unknown],
            "visit_ms": _visit_ms(evidence),
            "requests": len(evidence["visit"]["requests"]),
            "packets": sum(capture["frames"] for capture in evidence["captures"]),
        }
        if wrong:
            return Verdict(False, f"step {wrong[0].number}: {wrong[0].what}", numbers)
        if unknown:
            return Verdict(None, f"step {unknown[0].number} has no evidence: {unknown[0].what}", numbers)
        return Verdict(True, f"all {len(taken)} steps were seen", numbers)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:
        from experiments.journey.show import timeline

        return timeline(evidence, steps(evidence), verdict)

    def page(self, evidence: Evidence) -> str:
        from experiments.journey.show import page

        return page(evidence, steps(evidence))


def _visitor(chance: Random) -> tuple[str, str, str]:
    """A name, a password and a message that occur nowhere else, so that finding one means something."""
    name, password, word = (f"{chance.getrandbits(bits):x}" for bits in (32, 64, 64))
    return f"ada-{name}", password, f"hello from the journey {word}"


def _marks(seen: dict[str, Any], message: str, password: str) -> dict[str, bytes]:
    """What to look for in every payload: request ids, and what only an eavesdropper could know."""
    ids = {
        request["request_id"]: request["request_id"].encode() for request in seen["requests"] if request["request_id"]
    }
    return {
        **ids,
        "message": message.encode(),
        "message+": message.replace(" ", "+").encode(),
        "password": password.encode(),
    }


def _frames(captures: Iterable[Capture], marks: dict[str, bytes]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every frame as a row without its payload, and what each capture saw and lost."""
    rows, summary = [], []
    for capture in captures:
        found = frames(capture.file)
        rows += [_row(capture, frame, marks) for frame in found]
        summary.append(
            {
                "link": capture.link,
                "file": capture.file.name,
                "frames": found[-1].number if found else 0,
                "dropped": capture.dropped,
            }
        )
    return rows, summary


def _row(capture: Capture, frame: Frame, marks: dict[str, bytes]) -> dict[str, Any]:
    ports = {int(end.rpartition(":")[2]) for end in (frame.src, frame.dst) if ":" in end}
    return {
        "link": capture.link,
        "file": capture.file.name,
        "frame": frame.number,
        "time": frame.time,
        "src": frame.src,
        "dst": frame.dst,
        "proto": frame.proto,
        "flags": frame.flags,
        "bytes": len(frame.payload),
        "says": payloads.describe(frame.payload, ports),
        "marks": [name for name, mark in marks.items() if mark in frame.payload],
    }


def _visit_ms(evidence: Evidence) -> float:
    first, last = evidence["visit"]["requests"][0], evidence["visit"]["requests"][-1]
    return round((float(last["time"]) - float(first["time"])) * 1000 + float(last["ms"]), 1)
