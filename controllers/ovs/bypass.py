"""Past the controller: flows and meters put on a switch or taken off it by ovs-ofctl.

Only for what must not come from the desired state: wrong flows on purpose (the mutation fixture), the way by hand that
benchmarks compare with, and a switch that loses its power. Everything else is an overlay (controllers/overlay.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from controllers import sampling
from controllers.flow import Flow
from controllers.ovs.program import run


def add_meter(switch: str, number: int) -> None:
    """Let a switch have a meter of a rule by a port, as the controller makes them."""
    bands = f"type=drop,rate={sampling.RATE},burst_size={sampling.BURST}"
    run("ovs-ofctl", "-O", "OpenFlow13", "add-meter", switch, f"meter={number},pktps,burst,bands={bands}")


def exchange_flows(switch: str, gone: Iterable[Flow], new: Iterable[Flow]) -> None:
    """Take flows off a switch and put others on it: all at once, in a bundle."""
    lines = [f"delete_strict {_place(flow)}" for flow in gone] + [f"add {flow.text()}" for flow in new]
    run("ovs-ofctl", "-O", "OpenFlow13", "--bundle", "add-flows", switch, "-", said="\n".join(lines))


def delete_all_flows(switch: str) -> None:
    """Empty a switch's tables, as it has them when it is switched on."""
    run("ovs-ofctl", "-O", "OpenFlow13", "del-flows", switch)


def _place(flow: Flow) -> str:
    """The identity of a flow: table, priority and match."""
    return flow.text().split(",", 1)[1].rpartition(",actions=")[0]
