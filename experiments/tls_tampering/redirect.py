"""Somebody holds the switch in front of a server: plugs in a machine, and sends what is meant for the server there.

                     lb ---- core ---- [fw1] ---- srv1
                                         |
                                      impostor      a namespace of its own on a new port; the attacker's address

Four flows above all tables of the policy: what the balancer sends to the server's web port goes to the impostor and
answers come back under the server's address; the impostor reaches the server under the balancer's. The firewall's own
flows are not touched, and with the block everything is gone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from controllers.ovs import ofctl
from testbed.namespaces import Inside
from topo import wait
from topo.errors import FoobarError
from topo.plan import NETWORK, Plan

if TYPE_CHECKING:
    from testbed.testbed import Testbed

NAME, STRANGER = "impostor", "attacker"
SWITCH_END, OWN_END = "impostor0", "impostor1"
# no port of any plan, no rule's number and no cookie of the compiler's
PORT, COOKIE, PRIORITY = 90, 0x7A317, 60000


def flows(plan: Plan, server: str, port: int) -> tuple[str, ...]:
    """The redirection as ovs-ofctl reads it: balancer to impostor and back, impostor to server and back."""
    lb, srv, own = plan.host("lb"), plan.host(server), plan.host(STRANGER)
    hop = plan.path(lb.name, server)[-1]
    begin = f"cookie={COOKIE:#x},table=0,priority={PRIORITY},tcp"
    to_own = f"set_field:{own.mac}->eth_dst,set_field:{own.ip}->ip_dst,output:{PORT}"

    def under(name: str, out: int) -> str:
        host = plan.host(name)
        return f"set_field:{host.mac}->eth_src,set_field:{host.ip}->ip_src,output:{out}"

    return (
        f"{begin},in_port={hop.in_port},nw_src={lb.ip},nw_dst={srv.ip},tp_dst={port},actions={to_own}",
        f"{begin},in_port={PORT},nw_dst={lb.ip},tp_src={port},actions={under(server, hop.in_port)}",
        f"{begin},in_port={PORT},nw_dst={srv.ip},tp_dst={port},actions={under(lb.name, hop.out_port)}",
        f"{begin},in_port={hop.out_port},nw_src={srv.ip},nw_dst={lb.ip},tp_src={port},actions={to_own}",
    )


@contextmanager
def plugged_in(testbed: Testbed, server: str, home: Path) -> Iterator[Inside]:
    """A machine on a new port of the switch in front of ``server``; its inside. Nothing is sent to it yet."""
    plan, switch = testbed.plan, _switch(testbed.plan, server)
    own, lb, srv = plan.host(STRANGER), plan.host("lb"), plan.host(server)
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
            *(("neighbour", "add", each.ip, "lladdr", each.mac, "dev", OWN_END) for each in (lb, srv)),
        ):
            _within(inside, "ip", *words)
        port = ("add-port", switch, SWITCH_END, "--", "set", "Interface", SWITCH_END, f"ofport_request={PORT}")
        _run("ovs-vsctl", *port)
        undo.callback(_run, "ovs-vsctl", "--if-exists", "del-port", switch, SWITCH_END)
        yield inside


@contextmanager
def redirected(testbed: Testbed, server: str, port: int) -> Iterator[None]:
    """What the balancer sends to the server's ``port`` goes to the machine that is plugged in.

    The flows come at once, in a bundle: with only some of them the server would look dead, which is another alarm.
    """
    switch = _switch(testbed.plan, server)
    bundle = testbed.home / "redirection.flows"
    bundle.write_text("".join(f"{flow}\n" for flow in flows(testbed.plan, server, port)))
    try:
        _ofctl("--bundle", "add-flows", switch, str(bundle))
        yield
    finally:
        _ofctl("del-flows", switch, f"cookie={COOKIE:#x}/-1")


def packets(testbed: Testbed, server: str) -> int:
    """How many packets the redirection has moved so far."""
    return ofctl.packets_by_cookie(_switch(testbed.plan, server)).get(COOKIE, 0)


def as_compiled(testbed: Testbed, server: str) -> bool:
    """Whether the switch holds exactly the policy's flows again."""
    switch = _switch(testbed.plan, server)
    return ofctl.flow_differences(switch, testbed.home / f"{switch}.flows") is None


def _switch(plan: Plan, server: str) -> str:
    return plan.path("lb", server)[-1].switch


def _is_apart(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def _ofctl(*words: str) -> None:
    _run("ovs-ofctl", "-O", "OpenFlow13", *words)


def _run(*argv: str) -> None:
    _must(argv, subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False))


def _within(inside: Inside, *argv: str) -> None:
    _must(argv, inside.run(argv))


def _must(argv: tuple[str, ...], done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise FoobarError(f"{' '.join(argv[:3])}: failed", detail=done.stderr.strip())
