"""The plan made real with Mininet: hosts in namespaces of their own, Open vSwitch bridges, links.

One of the two files that import mininet (the other is cli.py).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from mininet.link import OVSLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host as MininetHost
from mininet.node import OVSSwitch, RemoteController

from controllers.ovs import program
from testbed.namespaces import Inside
from topo.errors import FoobarError
from topo.paths import PROJECT
from topo.plan import DOMAIN, NETWORK, Plan

HOST_SETUP = Path(__file__).parent / "host.sh"
# The project and its Python: a host sees them even where a person cloned into /tmp, which is private there
KEEP = sorted({str(PROJECT), sys.prefix, sys.base_prefix})
SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
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


class PlannedSwitch(OVSSwitch):  # type: ignore[misc]
    """Told to Open vSwitch by our own program.run: Mininet's setup gives it 1 s, and then ends the process.

    Mininet's advice, to start the machine's Open vSwitch, would be wrong besides: the box has its own.
    """

    @classmethod
    def setup(cls) -> None:
        cls.OVSVersion = re.findall(r"\d+\.\d+", program.run("ovs-vsctl", "--version"))[0]

    @classmethod
    def batchStartup(cls, switches: list[Any], **_: Any) -> list[Any]:
        """Mininet's own ``run`` waits for ever, and its failures are not looked at."""
        started: list[Any] = super().batchStartup(switches, _told)
        return started


def _told(line: str, **_: Any) -> None:
    """Run a line of Mininet's that is meant for a shell."""
    program.run(*shlex.split(line))


class SupervisedController(RemoteController):  # type: ignore[misc]
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
        self.mininet.addController(SupervisedController("ryu", ip=address, port=port))
        for switch in self.plan.switches:
            self.mininet.addSwitch(
                switch.name,
                cls=PlannedSwitch,
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
        """Start the switches. The controller should listen by now: a switch that finds none waits a second."""
        self.mininet.start()

    def __getitem__(self, name: str) -> Any:
        return self.mininet[name]


def write_host_files(plan: Plan, name: str, home: Path, authority: str) -> None:
    """Write a host's files for /etc: hosts, resolv.conf, trusted certificates; and its private directories.

    The public hosts know only themselves and ask DNS; the inner ones know each other and ask no DNS.
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
