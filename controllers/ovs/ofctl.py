"""A switch's flows and meters, by ovs-ofctl: dumped, compared, added and deleted past the controller."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from controllers import sampling
from controllers.flow import Flow
from controllers.ovs.program import run

COUNTER = re.compile(r"cookie=(0x[0-9a-f]+), .*?n_packets=(\d+)")


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
    text = run("ovs-ofctl", "-O", "OpenFlow13", "dump-flows", switch)
    return "\n".join(line.strip() for line in text.splitlines() if "cookie=" in line)


def add_flow(flow: Flow) -> None:
    """Put a flow on its switch, past the controller."""
    run("ovs-ofctl", "-O", "OpenFlow13", "add-flow", flow.switch, flow.text())


def delete_flow(flow: Flow) -> None:
    """Take that one flow off its switch."""
    run("ovs-ofctl", "-O", "OpenFlow13", "--strict", "del-flows", flow.switch, _place(flow))


def add_meter(switch: str, number: int) -> None:
    """Let a switch have a meter of a rule by a port, as the controller makes them."""
    bands = f"type=drop,rate={sampling.RATE},burst_size={sampling.BURST}"
    run("ovs-ofctl", "-O", "OpenFlow13", "add-meter", switch, f"meter={number},pktps,burst,bands={bands}")


def exchange_flows(switch: str, gone: Iterable[Flow], new: Iterable[Flow]) -> None:
    """Take flows off a switch and put others on it, past the controller: all at once, in a bundle."""
    lines = [f"delete_strict {_place(flow)}" for flow in gone] + [f"add {flow.text()}" for flow in new]
    run("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "add-flows", switch, "-", said="\n".join(lines))


def _place(flow: Flow) -> str:
    """What makes a flow itself: table, priority and match."""
    return flow.text().split(",", 1)[1].rpartition(",actions=")[0]


def delete_all_flows(switch: str) -> None:
    """Empty a switch's tables."""
    run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", switch)
