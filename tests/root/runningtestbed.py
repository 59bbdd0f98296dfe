"""Real testbeds, used through the command line as a person would, and what of them could be left on the machine.

Everything lives under a state folder of its own: testbeds that somebody else runs are not seen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controllers.compile import rule_number
from controllers.policy import policy
from topo import wait
from topo.plan import plan as plan_of
from topo.profile import Profile

PROJECT = Path(__file__).resolve().parents[2]
RULES = policy(plan_of(Profile()))
Done = subprocess.CompletedProcess[str]
#: Prometheus asked on the monitoring host itself, with its monitoring client's certificate where there is one
QUERY = """
import json, os, ssl, sys, urllib.parse, urllib.request
secure, own = os.path.exists('/run/vmagent/client.pem'), None
if secure:
    own = ssl.create_default_context(cafile='/run/vmagent/ca.pem')
    own.load_cert_chain('/run/vmagent/client.pem', '/run/vmagent/client.pem.key')
address = f"{'https' if secure else 'http'}://mon:9090/api/v1/query?" + urllib.parse.urlencode({'query': sys.argv[1]})
print(json.dumps(json.load(urllib.request.urlopen(address, context=own))['data']['result']))
"""


class Commands:
    """The command line, with a state folder of its own. ``environment`` is added to each command's."""

    def __init__(self, state: Path, environment: dict[str, str] | None = None, folder: Path = PROJECT) -> None:
        self.state = state
        self.folder = folder
        self.environment = {**os.environ, "FOOBAR_STATE": str(state), **(environment or {})}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "topo.foobar", *words]

    def __call__(self, *words: str, input: str | None = None, seconds: float = 60) -> Done:  # noqa: A002
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds * wait.patience(),
            **stdin,  # type: ignore[call-overload, no-any-return]
        )

    @contextmanager
    def popen(self, *words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """The command in a session of its own, as on a terminal of its own; ended with the block."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        with subprocess.Popen(
            self.argv(*words), cwd=self.folder, env=self.environment, text=True, start_new_session=True, **options
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def up(self, name: str, *flags: str) -> RunningTestbed:
        """Booted. Without monitoring and firewall of the site, unless asked for: that is twice as many daemons here."""
        without = [word for axis in ("--monitoring", "--waf", "--ids") if axis not in flags for word in (axis, "off")]
        done = self("up", "--detach", "--name", name, *flags, *without)
        assert done.returncode == 0, done.stdout + done.stderr
        return RunningTestbed(self, name)

    def entry(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.state / f"{name}.json").read_text())
        return value


class Experiments(Commands):
    """``python -m experiments``."""

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "experiments", *words]


class RunningTestbed:
    """A running testbed, used through the command line as a person would."""

    def __init__(self, commands: Commands, name: str) -> None:
        self.commands = commands
        self.name = name

    def exec(self, host: str, *command: str, input: str | None = None, seconds: float = 60) -> Done:  # noqa: A002
        return self.commands("exec", "--name", self.name, host, "--", *command, input=input, seconds=seconds)

    def run(self, host: str, *command: str) -> str:
        """The output of a command that must succeed."""
        done = self.exec(host, *command)
        assert done.returncode == 0, f"{host}: {' '.join(command)}: exit status {done.returncode}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        done = self.commands("status", "--json", "--name", self.name)
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def becomes_steady(self, seconds: float = 30) -> None:
        """Return when it is steady. Raises DeadlineError that names what is not."""

        def look() -> str | None:
            now = self.status()
            return None if now["steady"] else "; ".join(now["problems"])

        wait.until(look, what=f"{self.name} is steady", seconds=seconds)

    def service(self, service_id: str) -> dict[str, Any]:
        row: dict[str, Any] = next(row for row in self.status()["services"] if row["id"] == service_id)
        return row

    def metric(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The present value of each series that a query finds, by its labels, sorted."""
        rows = json.loads(self.run("mon", "python3", "-c", QUERY, query))
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in rows}

    def total(self, query: str) -> float:
        """Their sum; 0 where there is none."""
        return sum(self.metric(query).values())

    def sql(self, host: str, statement: str, *options: str) -> str:
        """A statement's rows, as the database's administrator."""
        return self.run(host, "mariadb", "-S", "/run/mysqld/mysqld.sock", "-N", "-B", *options, "-e", statement).strip()

    def packets(self, switch: str, cookie: int) -> int:
        """How many packets the flows with that cookie have met on a switch."""
        dumped = self.run("box", "ovs-ofctl", "-O", "OpenFlow13", "dump-flows", switch, f"cookie={cookie:#x}/-1")
        return sum(int(count) for count in re.findall(r"n_packets=(\d+)", dumped))

    def counter(self, switch: str, rule: str) -> int:
        rules = policy(plan_of(Profile(**self.commands.entry(self.name)["profile"])))
        return self.packets(switch, rule_number(rules, rule))

    def fault(self, words: str) -> str:
        """Break something by hand; returns the fault's number."""
        done = self.commands("fault", "--name", self.name, *words.split())
        assert done.returncode == 0, done.stderr
        return one_line(done.stdout).split()[1].rstrip(":")

    @contextmanager
    def broken(self, words: str, seconds: float = 60) -> Iterator[None]:
        """A fault by hand is in force while the block runs; healing it may take so many ``seconds``."""
        number = self.fault(words)
        try:
            yield
        finally:
            healed = self.commands("heal", "--name", self.name, number, seconds=seconds)
            assert healed.returncode == 0, healed.stderr

    def connects(self, src: str, dst: str, port: int, seconds: float = 1) -> bool:
        """Whether a TCP connection can be made from one host to another, by name or address."""
        code = (
            "import socket, sys\n"
            "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()\n"
            "except OSError: sys.exit(1)"
        )
        return self.exec(src, "python3", "-S", "-c", code, dst, str(port), str(seconds)).returncode == 0

    def assert_blocked(self, src: str, dst: str, port: int, *, by: str, instead: tuple[str, int]) -> None:
        """A block counts only if the client failed, the deny counter rose, and the client reached another port."""
        before = self.counter(by, "deny-rest")
        assert not self.connects(src, dst, port), f"{src} -> {dst}:{port} is open"
        assert self.counter(by, "deny-rest") > before, f"{src} -> {dst}:{port}: nothing was counted on {by}"
        assert self.connects(src, *instead), f"{src} reaches nothing at all"

    def processes(self) -> Processes:
        return Processes.below(self.commands.entry(self.name)["launcher"])


class Processes:
    """Processes of this machine, each with its start time (so that a pid used again is another), and their namespaces.

    The namespaces are held open until ``close``, so that the kernel gives their numbers to nobody else meanwhile.
    """

    def __init__(self, alive: dict[int, str]) -> None:
        self.alive = alive
        self._held: dict[str, int] = {}
        own = namespaces(os.getpid())
        for pid in alive:
            for each, path in namespaces(pid).items():
                if each not in own and each not in self._held:
                    self._hold(each, path)

    def _hold(self, each: str, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            return
        if os.readlink(f"/proc/self/fd/{descriptor}") == each:
            self._held[each] = descriptor
        else:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    @property
    def namespaces(self) -> set[str]:
        return set(self._held)

    @classmethod
    def below(cls, root: int) -> Processes:
        """A process and everything that descends from it: a testbed, given its launcher."""
        children: dict[int, list[int]] = {}
        for pid in pids():
            if (fields := stat(pid)) is not None:
                children.setdefault(int(fields[1]), []).append(pid)
        alive: dict[int, str] = {}
        frontier = [root]
        while frontier:
            pid = frontier.pop()
            if (fields := stat(pid)) is not None:
                alive[pid] = fields[19]
            frontier += children.get(pid, [])
        return cls(alive)

    def named(self, name: str) -> int | None:
        """The pid of the first one with that command name."""
        for pid in self.alive:
            if command_name(pid) == name:
                return pid
        return None

    def running(self, module: str) -> int:
        """The pid, on this machine, of the one that runs a Python module."""
        return next(pid for pid in self.alive if module in command_line(pid))

    def leftovers(self) -> str | None:
        """What of them is still there: None when nothing is."""
        living = [pid for pid, start in self.alive.items() if (now := stat(pid)) and now[19] == start and now[0] != "Z"]
        inhabited = [
            pid for pid in pids() if namespaces(pid).keys() & self._held and (now := stat(pid)) and now[0] != "Z"
        ]
        bound = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " in line]
        held = [line for line in bound if any(each in line for each in self.namespaces)]
        left = [f"{pid} ({command_name(pid)})" for pid in {*living, *inhabited}] + held
        return "; ".join(left) or None


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (0), with the parent (1) and the start time (19)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def namespaces(pid: int) -> dict[str, str]:
    """A process's namespaces: what the kernel calls each (``net:[4026531840]``) -> where it can be opened."""
    found = {}
    for kind in ("net", "mnt", "pid", "uts", "ipc", "user"):
        path = f"/proc/{pid}/ns/{kind}"
        try:
            found[os.readlink(path)] = path
        except OSError:
            continue
    return found


class Machine:
    """What a testbed must not change: the machine's links and mounts, and this state folder's emptiness."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.before = self.now()

    def now(self) -> dict[str, set[str]]:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        ours = f"FOOBAR_STATE={self.state}\0".encode()
        return {
            "links": {line.split(":")[1].strip() for line in links.splitlines()},
            "mounts": {f"{words[4]} {words[-3]}" for words in mounts},
            "processes": {str(pid) for pid in pids() if ours in environment(pid)},
        }

    def changes(self) -> str | None:
        now = self.now()
        new = [f"{what} {sorted(now[what] - self.before[what])}" for what in now if now[what] - self.before[what]]
        return "; ".join(new) or None

    def assert_clean(self, *processes: Processes, seconds: float = 5) -> None:
        """Nothing of these processes, and nothing new on the machine, is left (the kernel is given a moment)."""

        def look() -> str | None:
            return next((left for each in processes if (left := each.leftovers())), None) or self.changes()

        wait.until(look, what="nothing left", seconds=seconds)
        for each in processes:
            each.close()


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + b"\0"
    except OSError:
        return b""


def one_line(text: str) -> str:
    """Text that must be a single line."""
    lines: Sequence[str] = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]
