"""Rooms: namespaces as an emulated host has them, outside any plan, from which a reference is built by hand.

The same set-up file that makes the testbed's hosts makes a room, so that ours and the reference differ only in what
lies between the rooms.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.namespaces import Inside
from testbed.network import HOST_SETUP, KEEP, write_host_files
from topo import wait
from topo.errors import FoobarError
from topo.plan import Host, Plan

IDLE = "sleep"
KINDS = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")


@contextmanager
def room(plan: Plan, host: str, home: Path, *, authority: str = "", shares: Inside | None = None) -> Iterator[Inside]:
    """A room with the files of one of the plan's hosts, with a network of its own or with that of another room."""
    write_host_files(plan, host, home, authority)
    network = ["unshare", "--net"] if shares is None else ["nsenter", f"--target={shares.pid}", "--net", "unshare"]
    # the set-up wants a terminal, because the testbed's hosts have one
    terminal, stdin = os.openpty()
    process = subprocess.Popen(
        [*network, *KINDS, "sh", str(HOST_SETUP), host, str(home), ":".join(KEEP), IDLE, "infinity"],
        stdin=stdin,
        start_new_session=True,
    )
    os.close(stdin)
    try:
        wait.until(lambda: None if _idle(process) else "not set up", what=f"a room for {host}", seconds=5)
        yield Inside(host, _first(process), home)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def rooms(undo: ExitStack, plan: Plan, home: Path, *hosts: str) -> tuple[Inside, ...]:
    """Several, each with a network of its own, until ``undo`` is closed."""
    return tuple(undo.enter_context(room(plan, host, home / host)) for host in hosts)


def cable(a: Inside, a_end: str, b: Inside, b_end: str) -> None:
    """A veth pair between two rooms, both ends up."""
    command("ip", "link", "add", a_end, "netns", str(a.pid), "type", "veth", "peer", b_end, "netns", str(b.pid))
    for inside, end in ((a, a_end), (b, b_end)):
        within(inside, "ip", "link", "set", end, "up")


def settle(inside: Inside, host: Host, prefix: int) -> None:
    """Give a room's interface the address and MAC that the plan gives the host."""
    within(inside, "ip", "link", "set", host.interface, "address", host.mac)
    within(inside, "ip", "address", "add", f"{host.ip}/{prefix}", "dev", host.interface)


def within(inside: Inside, *argv: str) -> str:
    """Run a command in a room to its end; its output. Raises FoobarError when it fails."""
    return _output(inside.run(argv), *argv)


def command(*argv: str) -> str:
    """The same in the box itself."""
    return _output(subprocess.run(argv, capture_output=True, text=True, check=False), *argv)


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
        raise FoobarError(f"a room could not be made (exit status {process.returncode})")
    try:
        return Path(f"/proc/{_first(process)}/comm").read_text().strip() == IDLE
    except (OSError, IndexError):
        return False
