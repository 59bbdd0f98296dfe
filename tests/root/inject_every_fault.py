"""Not a test: runs inside a box of its own, injects one fault of every kind and tells what it saw, as JSON.

    python tests/root/inject_every_fault.py FILE

For each fault: whether the thing really failed while it was in force (``failed``: None when it did, else what was
seen) and what differed between a full snapshot before and one after an exception had ended the block. The same for
pairs of faults, by hand: the first is healed first.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from controllers.compile import OWN_COOKIES  # noqa: E402
from controllers.ovs import ofctl, vswitchd  # noqa: E402
from services.mariadb import mariadb  # noqa: E402
from testbed import core, session  # noqa: E402
from testbed.body import Body  # noqa: E402
from testbed.faults.injection import by_hand, injected  # noqa: E402
from testbed.faults.kind import Fault  # noqa: E402
from testbed.testbed import Testbed  # noqa: E402
from topo import profile, wait  # noqa: E402
from topo.errors import DeadlineError, FoobarError, RefusedError  # noqa: E402

SECONDS = 0.4
DATABASE_PORT, ETHERNET, IP = 3306, 14, 20
FIN, RST = 1, 4
LOCK_WAIT_TIMEOUT = 1205


class Interrupted(BaseException):
    """What ends each block: as Ctrl-C would, no Exception."""


# --- before and after ------------------------------------------------------------------------------------------------


def snapshot(testbed: Testbed) -> dict[str, str]:
    """Links, addresses, routes, flows, controllers, services: all that healing must bring back."""
    shown = {}
    for host in testbed.plan.hosts:
        for what in ("link", "addr", "route"):
            shown[f"{host.name}: ip {what}"] = testbed.inside(host.name).run(["ip", "-o", what]).stdout
        retries = testbed.inside(host.name).run(["cat", "/proc/sys/net/ipv4/tcp_orphan_retries"]).stdout
        shown[f"{host.name}: orphan retries"] = retries
    for link in testbed.plan.links:
        for end in link.ends:
            interface = Path(f"/sys/class/net/{end.interface}/operstate")
            if interface.exists():
                shown[f"{end.interface}: state"] = interface.read_text()
    for switch in testbed.plan.switches:
        flows = [re.sub(r"duration=\S+ |n_\w+=\d+, |idle_age=\d+, ", "", line) for line in _flows(switch.name)]
        shown[f"{switch.name}: flows"] = "\n".join(sorted(flows))
    shown["switches that a controller leads"] = str(led())
    for unit in testbed.supervisor.units:
        shown[f"{unit.service.id}: state"] = unit.state
    shown["faults"] = str(testbed.active_faults.status())
    return shown


def _flows(switch: str) -> list[str]:
    return ofctl.dump_flows(switch).splitlines()


def differences(before: dict[str, str], after: dict[str, str]) -> str | None:
    changed = [f"{name}: {before.get(name)!r} -> {after.get(name)!r}" for name in before if before[name] != after[name]]
    return "; ".join(changed) or None


def changed(testbed: Testbed, before: dict[str, str]) -> str | None:
    """What is not as before, even after the time that a switch takes to find its controller."""
    with suppress(DeadlineError):
        wait.until(lambda: differences(before, snapshot(testbed)), what="as before", seconds=8)
    return differences(before, snapshot(testbed))


# --- what must fail while a fault is in force ----------------------------------------------------------------------


def refused(testbed: Testbed, src: str, dst: str, port: int) -> str | None:
    """Its processes are gone and its kernel says so."""
    return _seen(testbed, src, dst, port, ConnectionRefusedError)


def silent(testbed: Testbed, src: str, dst: str, port: int) -> str | None:
    """Nobody answers, not even to refuse."""
    return _seen(testbed, src, dst, port, TimeoutError)


def _seen(testbed: Testbed, src: str, dst: str, port: int, wanted: type[OSError]) -> str | None:
    try:
        testbed.inside(src).connect(port, testbed.plan.host(dst).ip, SECONDS).close()
    except wanted:
        return None
    except OSError as error:
        return f"{src} -> {dst}:{port}: {error}"
    return f"{src} -> {dst}:{port} is open"


def answers(testbed: Testbed, src: str, dst: str, port: int) -> str | None:
    """The opposite: it must still work."""
    try:
        testbed.inside(src).connect(port, testbed.plan.host(dst).ip, 2).close()
    except OSError as error:
        return f"{src} -> {dst}:{port}: {error}"
    return None


def status(testbed: Testbed, wanted: str) -> str | None:
    """What srv1's site answers to the balancer: a status, or nothing at all."""
    with testbed.inside("lb").connect(80, testbed.plan.host("srv1").ip, SECONDS) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        try:
            got = connection.recv(1000).decode().split(" ")[1]
        except TimeoutError:
            got = "silence"
    return None if got == wanted else f"answered {got}"


def still_addressed(testbed: Testbed, host: str) -> str | None:
    shown = testbed.inside(host).run(["ip", "-o", "addr"]).stdout + testbed.inside(host).run(["ip", "route"]).stdout
    ip = testbed.plan.host(host).ip
    return None if f"{ip}/16" in shown and "10.0.0.0/16" in shown else f"addresses and routes: {shown}"


def swallowed(switch: str) -> str | None:
    """A black hole's flow on that switch has counted something."""
    counted = ofctl.packets_by_cookie(switch).get(OWN_COOKIES["black-hole"], 0)
    return None if counted else f"nothing counted on {switch}"


def emptied(testbed: Testbed, switch: str) -> str | None:
    if left := _flows(switch):
        return f"{len(left)} flows"
    zone = testbed.plan.switch(switch).number
    entries = [line for line in vswitchd.tell("dpctl/dump-conntrack").splitlines() if f"zone={zone}," in f"{line},"]
    return f"{len(entries)} connections tracked" if entries else None


def no_controller(testbed: Testbed) -> str | None:
    """No switch has one, for longer than the watch needs to bring back what died; all else works."""
    return all_of(uncontrolled(testbed), answers(testbed, "lb", "srv1", 80))


def uncontrolled(testbed: Testbed) -> str | None:
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        if (state := testbed.supervisor.unit("box/controller").state) != "stopped":
            return f"the controller is {state}"
        time.sleep(0.02)
    return f"{led()} switches have one" if led() else None


def led() -> int:
    """How many switches talk to a controller; Open vSwitch's own database knows it only some seconds later."""
    words = ("ss", "-Htn", "state", "established", "dport", "=", f":{core.CONTROLLER_ADDRESS[1]}")
    return len(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())


def all_of(*seen: str | None) -> str | None:
    return next((each for each in seen if each), None)


def quiet(testbed: Testbed) -> str | None:
    return silent(testbed, "lb", "srv1", 80)


def only_to_srv1(testbed: Testbed) -> str | None:
    return all_of(quiet(testbed), answers(testbed, "srv2", "srv1", DATABASE_PORT), swallowed("core"))


def held_up(testbed: Testbed) -> str | None:
    """A write, even one of nothing, does not end; a read does."""
    mariadb.query(testbed.inside("srv1"), "SELECT COUNT(*) FROM foobar.users")
    write = "SET STATEMENT lock_wait_timeout = 1 FOR DELETE FROM foobar.users WHERE name = ''"
    try:
        mariadb.query(testbed.inside("srv1"), write)
    except pymysql.OperationalError as error:
        return None if error.args[0] == LOCK_WAIT_TIMEOUT else str(error)
    return "a write ended"


def without_room(folder: Path) -> str | None:
    """A file cannot be written."""
    try:
        (folder / "probe").write_bytes(bytes(1_000_000))
    except OSError as error:
        return None if error.errno == errno.ENOSPC else str(error)
    finally:
        (folder / "probe").unlink(missing_ok=True)
    return f"there is room in {folder}"


#: every fault that is tried -> what must be so while it is in force
CHECKS: dict[str, Callable[[Testbed], str | None]] = {
    "kill srv1 web": lambda bed: refused(bed, "lb", "srv1", 80),
    "kill srv1 db": lambda bed: refused(bed, "lb", "srv1", DATABASE_PORT),
    "kill lb balancer": lambda bed: refused(bed, "client", "lb", 443),
    "stop srv1 web": lambda bed: refused(bed, "lb", "srv1", 80),
    "stop srv2 db": lambda bed: None if bed.supervisor.unit("srv2/db").state == "stopped" else "it runs",
    "freeze srv1 web": lambda bed: status(bed, "silence"),
    "freeze srv1 app": lambda bed: status(bed, "silence"),
    "error500 srv1": lambda bed: status(bed, "500"),
    "cut srv1": lambda bed: all_of(quiet(bed), still_addressed(bed, "srv1")),
    "cut core fw1": lambda bed: all_of(quiet(bed), answers(bed, "lb", "srv2", 80)),
    "flap srv1": quiet,
    "stuck srv1": held_up,
    "full srv1 data": lambda bed: without_room(bed.inside("srv1").path(mariadb.DATA)),
    "full lb log": lambda bed: all_of(
        without_room(bed.inside("lb").path("/var/log")), answers(bed, "client", "lb", 443)
    ),
    "blackhole lb srv1": only_to_srv1,
    "blackhole srv1 lb": lambda bed: all_of(quiet(bed), swallowed("fw1")),
    "off srv1": quiet,
    "off lb": lambda bed: silent(bed, "client", "lb", 443),
    "off fw1": lambda bed: all_of(emptied(bed, "fw1"), quiet(bed), answers(bed, "lb", "srv2", 80)),
    "off core": lambda bed: all_of(emptied(bed, "core"), silent(bed, "client", "lb", 443)),
    "stop-controller": lambda bed: no_controller(bed),
}
#: two at once: the first is healed first, while the second is still in force
PAIRS = (
    ("cut srv1", "off srv1"),
    ("off srv1", "cut srv1"),
    ("kill srv1 web", "off srv1"),
    ("freeze srv1 app", "off srv1"),
    ("kill srv2 db", "off core"),
    ("off fw2", "off fw1"),
    ("off fw1", "off srv1"),
    ("stop-controller", "off fw1"),
    ("off fw3", "stop-controller"),
    ("blackhole lb srv1", "stop-controller"),
)
#: what must be so after the first is healed, where that is not what the second alone does: only a controller can take a
#: black hole off a switch, so that one stays until there is one again
LEFT: dict[tuple[str, str], Callable[[Testbed], str | None]] = {
    ("blackhole lb srv1", "stop-controller"): lambda bed: all_of(uncontrolled(bed), quiet(bed)),
}


# --- nobody says good-bye --------------------------------------------------------------------------------------------


@contextmanager
def endings(testbed: Testbed, ports: set[int]) -> Iterator[list[str]]:
    """FIN and RST that the balancer hears from srv1 on its own ``ports`` while the block lasts."""
    heard: list[str] = []
    with testbed.inside("lb").open_socket(socket.SOCK_RAW, socket.AF_PACKET) as wire:
        wire.bind(("lb-eth0", 0x0800))
        yield heard
        wire.setblocking(False)
        while True:
            try:
                frame = wire.recv(65536)
            except BlockingIOError:
                return
            if frame[26:30] != socket.inet_aton(testbed.plan.host("srv1").ip) or frame[23] != socket.IPPROTO_TCP:
                continue
            (port,) = struct.unpack("!H", frame[ETHERNET + IP + 2 : ETHERNET + IP + 4])
            flags = frame[ETHERNET + IP + 13]
            if port in ports and flags & (FIN | RST):
                heard.append("RST" if flags & RST else "FIN")


def good_byes(testbed: Testbed, fault: Fault) -> list[str]:
    """What twenty open connections to srv1's servers hear of a fault and, for 2 s, of its healing."""
    address = testbed.plan.host("srv1").ip
    held = [testbed.inside("lb").connect(port, address) for port in [80, DATABASE_PORT] * 10]
    try:
        with endings(testbed, {each.getsockname()[1] for each in held}) as heard:
            with injected(testbed, fault):
                time.sleep(0.1)
            time.sleep(2)  # the kernel says good-bye again after 0.2, 0.4, 0.8 s
    finally:
        for each in held:
            each.close()
    return heard


# --- the run ---------------------------------------------------------------------------------------------------------


def steady(testbed: Testbed) -> None:
    wait.until(lambda: testbed.look().problems, what="steady", seconds=30)


def tried(testbed: Testbed, fault: Fault) -> dict[str, Any]:
    before, check = snapshot(testbed), CHECKS[str(fault)]
    # the negative control; looking for a controller that is gone takes its time
    fails_already = fault.kind != "stop-controller" and check(testbed) is None
    failed: str | None = "not reached"
    with suppress(Interrupted), injected(testbed, fault):
        failed = check(testbed)
        raise Interrupted
    steady(testbed)
    return {"failed": failed, "fails_anyway": fails_already, "after": changed(testbed, before)}


def both(testbed: Testbed, first: str, second: str) -> dict[str, Any]:
    before = snapshot(testbed)
    number = by_hand(testbed, *first.split())["number"]
    by_hand(testbed, *second.split())
    testbed.active_faults.heal(number)
    failed = LEFT.get((first, second), CHECKS[second])(testbed)
    testbed.active_faults.heal()
    steady(testbed)
    return {"failed": failed, "after": changed(testbed, before)}


def without_controller(testbed: Testbed) -> str:
    """What is said to a black hole that no controller can make."""
    with injected(testbed, Fault("stop-controller")):
        try:
            with injected(testbed, Fault("blackhole", "lb", "srv1")):
                return "it was in force"
        except RefusedError as error:
            return f"{error}; {answers(testbed, 'lb', 'srv1', 80)}"


class BreakAll(Body):
    """Every fault, pairs of them, what is refused, then which faults send FIN or RST."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __call__(self, testbed: Testbed) -> int:
        if led() != len(testbed.plan.switches):
            raise FoobarError(f"{led()} switches have a controller: the look at them sees nothing")
        told: dict[str, Any] = {
            "faults": {words: tried(testbed, Fault(*words.split())) for words in CHECKS},
            "pairs": {", ".join(pair): both(testbed, *pair) for pair in PAIRS},
        }
        told["without controller"] = without_controller(testbed)
        told["good_byes"] = {
            words: good_byes(testbed, Fault(*words.split()))
            for words in ("kill srv1 web", "off srv1", "cut srv1", "off fw1")
        }
        steady(testbed)
        self.target.write_text(json.dumps(told))
        return 0


if __name__ == "__main__":
    sys.exit(session.in_box("faults", profile.Profile(), sys.argv, BreakAll(Path(sys.argv[1])), quiet=True))
