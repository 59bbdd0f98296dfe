"""The plan made real with Mininet: hosts in namespaces of their own, Open vSwitch bridges, links.

One of the two files that import mininet (the other is cli.py).
"""

from __future__ import annotations

import re
import select
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

from mininet.link import OVSLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host as MininetHost
from mininet.node import OVSSwitch, RemoteController

from controllers.ovs import program
from testbed import hostroot
from testbed.namespaces import REDUCED, Inside, enter
from topo import wait
from topo.errors import FoobarError
from topo.plan import NETWORK, Plan

#: how Mininet's shells say that they are ready
PROMPT = chr(127)
SHELL_SECONDS, LOOK_MILLISECONDS = 30.0, 200
SETUP_LOG = "setup.log"


class PromptShell:
    """Mininet's shell of a node; Mininet waits for its answers for ever.

    Here a shell that ended is an error, and while the network is made each answer has a deadline; later it is a
    person's command that may take its time. ``words``: what has been said of why it ended.
    """

    building = True
    starting = False
    words = ""
    name: str
    readbuf: str
    stdout: Any
    shell: subprocess.Popen[Any]

    def startShell(self, mnopts: str | None = None) -> None:
        self.starting = True  # Mininet would poll without end between two parts of the first prompt
        super().startShell(mnopts)  # type: ignore[misc]
        self.starting = False

    def read(self, size: int = 1024) -> str:
        self._await()
        data: str = super().read(size)  # type: ignore[misc]
        while self.starting and not data.endswith(PROMPT):
            self._await(data)
            data += super().read(size)  # type: ignore[misc]
        return data

    def waitReadable(self, timeoutms: int | None = None) -> Any:
        if timeoutms is None:
            self._await()
        return super().waitReadable(timeoutms)  # type: ignore[misc]

    def _await(self, seen: str = "") -> None:
        """Return when there is something to read. Raises FoobarError when there will be nothing."""
        words = wait.last_line(seen) or self.words
        seconds = SHELL_SECONDS * wait.patience()
        began = time.monotonic()
        readable = select.poll()
        readable.register(self.stdout, select.POLLIN)
        while not self.readbuf and not readable.poll(LOOK_MILLISECONDS):
            if self.shell.poll() is not None:
                raise FoobarError(f"{self.name}: its shell ended{words and f': {words}'}")
            if self.building and time.monotonic() - began > seconds:
                raise wait.late(f"{self.name}: an answer of its shell", seconds, words)


class IsolatedHost(PromptShell, MininetHost):  # type: ignore[misc]
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
            # a session of its own around the terminal that is its standard input: Ctrl-C reaches what runs there
            cmd = [*unshare, *hostroot.setup(self.name, self.home, *REDUCED, "setsid", "--ctty", *shell)]
            with (self.home / SETUP_LOG).open("wb") as said:
                return self._started(cmd, **{**params, "start_new_session": True, "stderr": said})
        return self._started(cmd, **params)

    def _started(self, cmd: list[str], **params: Any) -> subprocess.Popen[Any]:
        process: subprocess.Popen[Any] = super()._popen(cmd, **params)
        return process

    @property
    def words(self) -> str:  # type: ignore[override]
        """The last words of the set-up of its namespaces: why there is no shell."""
        return wait.last_line((self.home / SETUP_LOG).read_text(errors="replace"))

    def startShell(self, mnopts: str | None = None) -> None:
        super().startShell(mnopts)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        if not children:
            raise FoobarError(f"{self.name}: its namespaces could not be made")
        self.pid = int(children[0])

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        kwargs.setdefault("mncmd", enter(self.pid))
        process: subprocess.Popen[Any] = super().popen(*args, **kwargs)
        return process

    def terminate(self) -> None:
        """The kernel ends a host's processes with its init; nothing to unmount."""
        if self.shell.poll() is None:
            self.shell.kill()
        self.cleanup()

    @property
    def inside(self) -> Inside:
        return Inside(self.name, self.pid, self.home)


class PlannedSwitch(PromptShell, OVSSwitch):  # type: ignore[misc]
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
        for node in self.mininet.values():
            node.building = False

    def __getitem__(self, name: str) -> Any:
        return self.mininet[name]
