"""Reference hosts: namespaces as an emulated host has them, outside any plan, from which a reference is built by hand.

The same set-up file makes them and the testbed's hosts, so that ours and the reference differ only in what lies between
the hosts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.hostroot import setup, write_host_files
from testbed.namespaces import REDUCED, Inside
from topo import wait
from topo.errors import FoobarError
from topo.plan import Host, Plan

IDLE = "sleep"
KINDS = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")


@contextmanager
def reference_host(
    plan: Plan, host: str, home: Path, *, authority: str = "", shares: Inside | None = None
) -> Iterator[Inside]:
    """It has the files of one of the plan's hosts, and a network of its own or that of another reference host."""
    write_host_files(plan, host, home, authority)
    network = ["unshare", "--net"] if shares is None else ["nsenter", f"--target={shares.pid}", "--net", "unshare"]
    process = subprocess.Popen(
        [*network, *KINDS, *setup(host, home, *REDUCED, IDLE, "infinity")],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait.until(lambda: None if _idle(process) else "not set up", what=f"a reference host for {host}", seconds=5)
        yield Inside(host, _first(process), home)
    finally:
        process.kill()
        process.wait()


def reference_hosts(undo: ExitStack, plan: Plan, home: Path, *hosts: str) -> tuple[Inside, ...]:
    """Several, each with a network of its own, until ``undo`` is closed."""
    return tuple(undo.enter_context(reference_host(plan, host, home / host)) for host in hosts)


def cable(a: Inside, a_end: str, b: Inside, b_end: str) -> None:
    """A veth pair between two reference hosts, both ends up."""
    command("ip", "link", "add", a_end, "netns", str(a.pid), "type", "veth", "peer", b_end, "netns", str(b.pid))
    for inside, end in ((a, a_end), (b, b_end)):
        within(inside, "ip", "link", "set", end, "up")


def settle(inside: Inside, host: Host, prefix: int) -> None:
    """Give its interface the address and MAC that the plan gives the host."""
    within(inside, "ip", "link", "set", host.interface, "address", host.mac)
    within(inside, "ip", "address", "add", f"{host.ip}/{prefix}", "dev", host.interface)


def within(inside: Inside, *argv: str) -> str:
    """Run a command on a reference host to its end; its output. Raises FoobarError when it fails."""
    return _output(inside.run(argv), *argv)


def command(*argv: str) -> str:
    """The same in the box itself."""
    return _output(wait.for_command(argv), *argv)


def _output(done: subprocess.CompletedProcess[str], *argv: str) -> str:
    if done.returncode:
        raise FoobarError(
            f"{' '.join(argv)}: exit status {done.returncode}", detail=(done.stdout + done.stderr).strip()
        )
    return done.stdout


def _first(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def _idle(process: subprocess.Popen[bytes]) -> bool:
    """The set-up has run to its end: it has become the idle process."""
    if process.poll() is not None:
        raise FoobarError(f"a reference host could not be made (exit status {process.returncode})")
    try:
        return Path(f"/proc/{_first(process)}/comm").read_text().strip() == IDLE
    except (OSError, IndexError):
        return False
