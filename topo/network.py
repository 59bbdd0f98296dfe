"""The plan made real with Mininet: hosts in namespaces of their own, Open vSwitch bridges, links.

One of the two files that import mininet (the other is cli.py).
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mininet.link import OVSLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host as MininetHost
from mininet.node import OVSSwitch, RemoteController

from controllers import sampling
from controllers.flow import Flow
from topo import wait
from topo.errors import FoobarError, MissingError
from topo.namespaces import Inside
from topo.plan import DOMAIN, NETWORK, Plan

HOST_SETUP = Path(__file__).parent / "host.sh"
# The project and its Python: a host sees them even where a person cloned into /tmp, which is private there
KEEP = sorted({str(Path(__file__).parent.parent), sys.prefix, sys.base_prefix})
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PIDFD_GETFD, SO_RCVBUFFORCE, RECEIVE_BYTES = 438, 33, 4_000_000
_libc = ctypes.CDLL(None, use_errno=True)
COUNTER = re.compile(r"cookie=(0x[0-9a-f]+), .*?n_packets=(\d+)")
RESOLV_CONF = Path("/etc/resolv.conf")


class IsolatedHost(MininetHost):  # type: ignore[misc]
    """A Mininet host that has, beside its network, its own mounts, processes, hostname and IPC.

    ``pid`` is its init process. Mininet's own hosts share all but the network with the machine.
    """

    def __init__(self, name: str, **params: Any) -> None:
        self.home: Path = params["home"]
        self.pid: int
        super().__init__(name, **params)

    def _popen(self, cmd: list[str], **params: Any) -> subprocess.Popen[Any]:
        """Mininet starts the node's shell here, with mnexec; ours begins in more namespaces."""
        if "-is" in cmd:
            shell = cmd[cmd.index("env") :]
            unshare = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
            cmd = [*unshare, "sh", str(HOST_SETUP), self.name, str(self.home), ":".join(KEEP), *shell]
            params["start_new_session"] = True
        process: subprocess.Popen[Any] = super()._popen(cmd, **params)
        return process

    def startShell(self, mnopts: str | None = None) -> None:
        super().startShell(mnopts)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise FoobarError(f"{self.name}: its namespaces could not be made")
        self.pid = int(children[0])

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--ipc", "--pid", "--"]
        kwargs.setdefault("mncmd", enter)
        process: subprocess.Popen[Any] = super().popen(*args, **kwargs)
        return process

    def terminate(self) -> None:
        """The kernel ends a host's processes with its init; nothing to unmount."""
        if self.shell and self.shell.poll() is None:
            self.shell.kill()
        self.cleanup()

    @property
    def inside(self) -> Inside:
        return Inside(self.name, self.pid, self.home)


class Controller(RemoteController):  # type: ignore[misc]
    """The Ryu process is the supervisor's; Mininet only needs to know where it listens."""

    def checkListening(self) -> None:
        pass


class Network:
    """The plan's hosts, then its switches and links, in Mininet."""

    def __init__(self, plan: Plan, homes: Path) -> None:
        self.plan = plan
        self.homes = homes
        setLogLevel("output")  # what a person asked to see, not the progress of building
        # Mininet would raise limits of the whole machine; the box leaves them alone
        Mininet.inited = True
        self.mininet = Mininet(build=False, controller=None, link=OVSLink, ipBase=str(NETWORK))

    def add_host(self, name: str) -> Inside:
        """Make a host's namespaces; its link comes later, so that its services may start meanwhile."""
        host = self.plan.host(name)
        node = self.mininet.addHost(
            name, cls=IsolatedHost, ip=f"{host.ip}/{NETWORK.prefixlen}", mac=host.mac, home=self.homes / name
        )
        inside: Inside = node.inside
        return inside

    def link(self, controller: tuple[str, int], datapath: str) -> None:
        """Make switches and links, and give the hosts their addresses. ``datapath``: ``kernel`` or ``user``."""
        address, port = controller
        self.mininet.addController(Controller("ryu", ip=address, port=port))
        for switch in self.plan.switches:
            self.mininet.addSwitch(
                switch.name,
                cls=OVSSwitch,
                dpid=f"{switch.dpid:016x}",
                datapath=datapath,
                failMode="secure",
                protocols="OpenFlow13",
                batch=True,
            )
        for link in self.plan.links:
            # Mininet runs ``ip link`` in the first node's shell and names the second by its pid, which a host,
            # having processes of its own, would not know: so the switch comes first
            a, b = link.ends
            self.mininet.addLink(a.node, b.node, port1=a.port, port2=b.port)
        self.mininet.build()

    def start(self) -> None:
        """Start the switches. The controller should listen by now: a switch that finds nobody waits a second."""
        self.mininet.start()

    def __getitem__(self, name: str) -> Any:
        return self.mininet[name]


def write_host_files(plan: Plan, name: str, home: Path, authority: str) -> None:
    """What a host finds in /etc: hosts, resolv.conf, trusted certificates; and its private directories.

    The public hosts know only themselves and ask DNS; the inner ones know each other and ask nobody.
    """
    for directory in ("run", "tmp", "log", "etc"):
        (home / directory).mkdir(parents=True, exist_ok=True)
    (home / "tmp").chmod(0o1777)
    own = plan.host(name)
    known = (own,) if own.zone == "internet" else plan.hosts
    lines = ["127.0.0.1 localhost", *(f"{host.ip} {host.name}" for host in known)]
    (home / "etc" / "hosts").write_text("\n".join(lines) + "\n")
    resolver = f"search {DOMAIN}\nnameserver {plan.host('dns').ip}\noptions timeout:1 attempts:2\n"
    (home / "etc" / "resolv.conf").write_text(resolver)
    bundle = SYSTEM_BUNDLE.read_text() if SYSTEM_BUNDLE.exists() else ""
    (home / "etc" / "ca-certificates.crt").write_text(bundle + authority)
    # systemd-resolved makes /etc/resolv.conf a link into /run, which is private here
    target = os.path.realpath(RESOLV_CONF)
    if target.startswith("/run/"):
        linked = home / target.lstrip("/")
        linked.parent.mkdir(parents=True, exist_ok=True)
        linked.write_text(resolver)


def detect_datapath() -> str:
    """``kernel`` where the machine has Open vSwitch's module, else ``user``."""
    found = subprocess.run(["ovs-dpctl", "dump-dps"], capture_output=True, check=False)
    return "kernel" if found.returncode == 0 else "user"


def prefer_offloads() -> None:
    """The userspace datapath leaves segmentation to the hosts; must be said before ovs-vswitchd starts."""
    _ovs("ovs-vsctl", "--no-wait", "init")
    _ovs("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true")


def flow_differences(switch: str, expected: Path) -> str | None:
    """None when a switch holds exactly the flows of a file, else the first differing lines."""
    result = subprocess.run(
        ["ovs-ofctl", "-O", "OpenFlow13", "diff-flows", switch, str(expected)],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return None
    return f"{switch}: " + " ".join((result.stdout + result.stderr).splitlines()[:3])


def packets_by_cookie(switch: str) -> dict[int, int]:
    """How many packets the flows of each cookie have matched on a switch so far."""
    counts: dict[int, int] = {}
    for cookie, packets in COUNTER.findall(dump_flows(switch)):
        counts[int(cookie, 16)] = counts.get(int(cookie, 16), 0) + int(packets)
    return counts


def dump_flows(switch: str) -> str:
    """A switch's tables as ovs-ofctl prints them, one flow a line."""
    text = _ovs("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", switch)
    return "\n".join(line.strip() for line in text.splitlines() if "cookie=" in line)


def add_flow(flow: Flow) -> None:
    """Put a flow on its switch, past the controller."""
    _ovs("ovs-ofctl", "-O", "OpenFlow13", "add-flow", flow.switch, flow.text())


def delete_flow(flow: Flow) -> None:
    """Take that one flow off its switch."""
    _ovs("ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", flow.switch, _place(flow))


def add_meter(switch: str, number: int) -> None:
    """Let a switch have a meter of a rule by a port, as the controller makes them."""
    bands = f"type=drop,rate={sampling.RATE},burst_size={sampling.BURST}"
    _ovs("ovs-ofctl", "-O", "OpenFlow13", "add-meter", switch, f"meter={number},pktps,burst,bands={bands}")


def exchange_flows(switch: str, gone: Iterable[Flow], new: Iterable[Flow]) -> None:
    """Take flows off a switch and put others on it, past the controller: all at once, in a bundle."""
    lines = [f"delete_strict {_place(flow)}" for flow in gone] + [f"add {flow.text()}" for flow in new]
    _ovs("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "add-flows", switch, "-", said="\n".join(lines))


def _place(flow: Flow) -> str:
    """What makes a flow itself: table, priority and match."""
    return flow.text().split(",", 1)[1].rpartition(",actions=")[0]


def delete_all_flows(switch: str) -> None:
    """Empty a switch's tables."""
    _ovs("ovs-ofctl", "-O", "OpenFlow13", "del-flows", switch)


def part_from_controller(switch: str) -> None:
    """The switch knows no controller any more, and hangs up."""
    _ovs("ovs-vsctl", "del-controller", switch)


def lead_to_controller(switch: str, controller: tuple[str, int]) -> None:
    """The switch looks for its controller, as it does from the boot on."""
    address, port = controller
    target = f"tcp:{address}:{port}"
    _ovs("ovs-vsctl", "set-controller", switch, target, "--", "set", "controller", switch, "max_backoff=1000")


def wait_for_interfaces(plan: Plan, seconds: float = 5) -> None:
    """Open vSwitch has opened every port of the plan. Raises DeadlineError with what it said."""
    wanted = {end.interface for link in plan.links for end in link.ends if plan.is_switch(end.node)}

    def look() -> str | None:
        rows = _ovs("ovs-vsctl", "--format=csv", "--no-headings", "--columns=name,ofport,error", "list", "Interface")
        there = {row.split(",")[0] for row in rows.splitlines() if row.split(",")[1] not in ("[]", "-1")}
        return f"ports not open: {', '.join(sorted(wanted - there))}" if wanted - there else None

    wait.until(look, what="switch ports", seconds=seconds)


def widen_receive_buffers(pid: int) -> None:
    """Give the packet sockets of the userspace datapath (the process ``pid``) room for more than three segments.

    A 64 KB segment fills a third of the kernel's default buffer: under load most were dropped and sent again. Open
    vSwitch has no setting for it and the box may not change the default, so its sockets are borrowed for an instant.
    """
    process = os.pidfd_open(pid)
    try:
        for number in map(int, os.listdir(f"/proc/{pid}/fd")):
            borrowed = _libc.syscall(PIDFD_GETFD, process, number, 0)
            if borrowed < 0:
                continue
            if not stat.S_ISSOCK(os.fstat(borrowed).st_mode):
                os.close(borrowed)
                continue
            with socket.socket(fileno=borrowed) as each, suppress(OSError):
                if each.family == socket.AF_PACKET:
                    each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
    finally:
        os.close(process)


def _ovs(*argv: str, said: str = "") -> str:
    try:
        result = subprocess.run(argv, input=said, capture_output=True, text=True, timeout=20, check=False)
    except FileNotFoundError:
        raise MissingError(f"{argv[0]} is not installed (package openvswitch-switch)") from None
    if result.returncode:
        raise FoobarError(f"{' '.join(argv[:3])}: failed", detail=result.stderr.strip())
    return result.stdout
