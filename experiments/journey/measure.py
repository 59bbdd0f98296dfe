"""The measurement of the journey: capture everything, make one visit, then read what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Any

from experiments.instruments import observe
from experiments.instruments.capture import Capture, capturing
from experiments.journey.evidence import CaptureRow, FrameRow, JourneyEvidence, TlsModes
from experiments.wire import payloads
from experiments.wire.pcap import CapturedFrame, frames
from testbed import databases
from topo.plan import APP, BALANCER, CLIENT, DATABASE, GROUP, RESOLVER, SITE, WEB
from topo.profile import Profile
from topo.tls import means

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


def measure(testbed: Testbed, run: Run) -> JourneyEvidence:
    """Capture on every link and loopback of a server while a visitor logs in, posts a message and reads it."""
    name, password, message = _visitor(run.random)
    places = [(testbed.inside(host.name), host.interface) for host in testbed.plan.hosts]
    places += [(testbed.inside(server.name), "lo") for server in testbed.plan.hosts_of(WEB)]
    before = testbed.rule_counters()
    with ExitStack() as stack:
        sql = stack.enter_context(observe.statements(testbed, run.folder))
        captures = stack.enter_context(capturing(places, run.folder))
        with run.phase("visit"):
            seen: Any = observe.visits(testbed, name, password, [message])
            positions = observe.wait_for_replicas(testbed)
    with run.phase("reading the captures"):
        rows, dropped = _frames(captures, _marks(seen, message, password))
    logs: Any = observe.request_logs(testbed, run.folder)
    statements: Any = [row for row in sql if "req=" in row["sql"] or message in row["sql"]]
    return JourneyEvidence(
        site=SITE,
        balance=testbed.profile.balance,
        tls=_modes(testbed.profile),
        client=testbed.plan.host_of(CLIENT).name,
        resolver=testbed.plan.host_of(RESOLVER).name,
        balancer=testbed.plan.host_of(BALANCER).name,
        primary=databases.primary(testbed),
        group_port=testbed.plan.port(GROUP) if testbed.profile.cluster else None,
        hosts={host.name: host.ip for host in testbed.plan.hosts},
        firewalls={switch.guards: switch.name for switch in testbed.plan.switches if switch.guards},
        app_port=testbed.plan.port(APP),
        database_port=testbed.plan.port(DATABASE),
        visit=seen,
        message=message,
        positions=positions,
        captures=dropped,
        frames=rows,
        logs=logs,
        sql=statements,
        counters={"before": before, "after": testbed.rule_counters()},
    )


def _modes(profile: Profile) -> TlsModes:
    tls = means(profile)
    return {"backend_tls": tls.backend_tls, "passthrough": tls.passthrough, "mutual": tls.mutual}


def _visitor(chance: Random) -> tuple[str, str, str]:
    """A name, a password and a message that occur nowhere else, so that finding one means something."""
    name, password, word = (f"{chance.getrandbits(bits):x}" for bits in (32, 64, 64))
    return f"ada-{name}", password, f"hello from the journey {word}"


def _marks(seen: dict[str, Any], message: str, password: str) -> dict[str, bytes]:
    """Texts to look for in every payload: request ids, the message and the password."""
    ids = {
        request["request_id"]: request["request_id"].encode() for request in seen["requests"] if request["request_id"]
    }
    return {
        **ids,
        "message": message.encode(),
        "message+": message.replace(" ", "+").encode(),
        "password": password.encode(),
    }


def _frames(captures: Iterable[Capture], marks: dict[str, bytes]) -> tuple[list[FrameRow], list[CaptureRow]]:
    """Every frame as a row without its payload, and what each capture saw and lost."""
    rows, summary = list[FrameRow](), list[CaptureRow]()
    for capture in captures:
        records = frames(capture.file)
        rows += [_row(capture, frame, marks) for frame in records]
        summary.append(
            {
                "link": capture.link,
                "file": capture.file.name,
                "frames": records[-1].number if records else 0,
                "dropped": capture.dropped,
            }
        )
    return rows, summary


def _row(capture: Capture, frame: CapturedFrame, marks: dict[str, bytes]) -> FrameRow:
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
