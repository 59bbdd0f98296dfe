"""An attacker holds the switch in front of a server: a machine is plugged in there, and gets the server's packets.

                     lb ---- core ---- [fw1] ---- srv1
                                         |
                                      impostor      a namespace of its own on a new port; the attacker's address

An overlay above the policy: what the balancer sends to the server's web port goes to the impostor, and answers come
back under the server's address; the impostor reaches the server under the balancer's. No flow of the policy changes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from controllers.compile import OWN_COOKIES
from controllers.overlay import redirect
from controllers.ovs import ofctl
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError
from topo.plan import BALANCER, NETWORK, Plan

if TYPE_CHECKING:
    from testbed.testbed import Testbed

NAME, STRANGER = "impostor", "attacker"
SWITCH_END, OWN_END = "impostor0", "impostor1"
PORT = 90  # no port of any plan


@contextmanager
def plugged_in(testbed: Testbed, server: str, home: Path) -> Iterator[Inside]:
    """A machine on a new port of the switch in front of ``server``; its inside. Nothing is sent to it yet."""
    plan, switch = testbed.plan, _switch(testbed.plan, server)
    own, lb, srv = plan.host(STRANGER), plan.host_of(BALANCER), plan.host(server)
    with ExitStack() as undo:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        undo.callback(holder.wait)
        undo.callback(holder.kill)
        inside = Inside(NAME, holder.pid, home)
        wait.until(lambda: None if _is_apart(holder.pid) else "not apart", what="the impostor's namespace", seconds=5)
        _run("ip", "link", "add", SWITCH_END, "type", "veth", "peer", "name", OWN_END, "netns", str(holder.pid))
        undo.callback(_run, "ip", "link", "delete", SWITCH_END)
        _run("ip", "link", "set", SWITCH_END, "up")
        address = f"{own.ip}/{NETWORK.prefixlen}"
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "set", OWN_END, "address", own.mac, "up"),
            ("address", "add", address, "dev", OWN_END),
            *(("neighbour", "add", host.ip, "lladdr", host.mac, "dev", OWN_END) for host in (lb, srv)),
        ):
            _within(inside, "ip", *words)
        port = ("add-port", switch, SWITCH_END, "--", "set", "Interface", SWITCH_END, f"ofport_request={PORT}")
        _run("ovs-vsctl", *port)
        undo.callback(_run, "ovs-vsctl", "--if-exists", "del-port", switch, SWITCH_END)
        yield inside


def redirected(testbed: Testbed, server: str, port: int) -> AbstractContextManager[None]:
    """In this block what the balancer sends to the server's ``port`` goes to the machine that is plugged in.

    The flows come at once: with only some of them the server would look dead, which is another alarm.
    """
    overlay = redirect(testbed.plan, server, port, STRANGER, PORT, reason="experiment tls_tampering")
    return testbed.overlays.above(overlay)


def packets(testbed: Testbed, server: str) -> int:
    """The number of packets that the redirection has moved so far."""
    return ofctl.packets_by_cookie(_switch(testbed.plan, server)).get(OWN_COOKIES["redirect"], 0)


def as_compiled(testbed: Testbed, server: str) -> bool:
    """Does the switch hold exactly the desired flows again?"""
    return testbed.flow_differences(_switch(testbed.plan, server)) is None


def _switch(plan: Plan, server: str) -> str:
    return plan.path(plan.host_of(BALANCER).name, server)[-1].switch


def _is_apart(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _run(*argv: str) -> None:
    _must(argv, wait.for_command(argv))


def _within(inside: Inside, *argv: str) -> None:
    _must(argv, inside.run(argv))


def _must(argv: tuple[str, ...], done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise FoobarError(f"{' '.join(argv[:3])}: failed", detail=done.stderr.strip())
