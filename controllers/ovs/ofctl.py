"""A switch's flows and ports, by ovs-ofctl: flows dumped and compared, ports configured."""

from __future__ import annotations

import re
from pathlib import Path

from controllers.ovs.program import run
from topo import wait

COUNTER = re.compile(r"cookie=(0x[0-9a-f]+), .*?n_packets=(\d+)")


def flow_differences(switch: str, expected: Path) -> str | None:
    """None when a switch holds exactly the flows of a file, else the first differing lines."""
    result = wait.for_command(("ovs-ofctl", "-O", "OpenFlow13", "diff-flows", switch, str(expected)))
    if result.returncode == 0:
        return None
    return f"{switch}: " + " ".join((result.stdout + result.stderr).splitlines()[:3])


def packets_by_cookie(switch: str) -> dict[int, int]:
    """The number of packets that the flows of each cookie have matched on a switch so far."""
    counts: dict[int, int] = {}
    for cookie, packets in COUNTER.findall(dump_flows(switch)):
        counts[int(cookie, 16)] = counts.get(int(cookie, 16), 0) + int(packets)
    return counts


def dump_flows(switch: str) -> str:
    """A switch's tables as ovs-ofctl prints them, one flow a line."""
    text = run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", switch)
    return "\n".join(line.strip() for line in text.splitlines() if "cookie=" in line)


def carry(switch: str, port: int, *, on: bool) -> None:
    """Let a switch's port take and send packets, or neither: port configuration, which no flow sees and none changes.

    Open vSwitch honours it on patch ports too, where it takes no notice of ``down``.
    """
    for word in ("receive", "forward"):
        run("ovs-ofctl", "-O", "OpenFlow13", "mod-port", switch, str(port), word if on else f"no-{word}")
