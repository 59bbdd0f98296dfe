"""Reaching into a host: what is started there is there, whatever else has the same numbers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.namespaces import Inside
from topo import wait

pytestmark = pytest.mark.root

NAMESPACES = ("--pid", "--fork", "--kill-child", "--net", "--uts", "--ipc", "--mount-proc")


@pytest.fixture
def inside() -> Iterator[Inside]:
    """A host's five namespaces, and nothing in them but their init."""
    with subprocess.Popen(["unshare", *NAMESPACES, "sleep", "60"]) as unshare:
        children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
        try:
            wait.until(lambda: None if children.read_text().strip() else "no init", what="namespaces", seconds=5)
            init = int(children.read_text())
            comm = Path(f"/proc/{init}/comm")
            wait.until(lambda: None if comm.read_text() == "sleep\n" else "no /proc", what="namespaces", seconds=5)
            yield Inside("some", init, Path("/nonexistent"))
        finally:
            unshare.kill()


def test_a_process_is_started_inside_even_when_it_is_numbered_as_the_hosts_init_is_outside(inside: Inside) -> None:
    """nsenter of util-linux 2.41 takes its target's number for one of the namespace that it is in already."""
    assert inside.pid is not None
    # as root of the machine: a host may not
    number = ["sh", "-c", f"echo {inside.pid - 3} > /proc/sys/kernel/ns_last_pid"]
    subprocess.run(["nsenter", f"--target={inside.pid}", "--pid", "--mount", *number], check=True)
    started = [inside.run(["sh", "-c", "echo $$; readlink /proc/self/ns/net"]).stdout.split() for _ in range(4)]
    assert str(inside.pid) in [number for number, _ in started]
    assert {network for _, network in started} == {os.readlink(f"/proc/{inside.pid}/ns/net")}
