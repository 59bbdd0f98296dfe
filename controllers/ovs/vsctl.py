"""Open vSwitch's configuration, by ovs-vsctl: its offloads, its ports, and the controller of a switch."""

from __future__ import annotations

from controllers.ovs.program import run
from topo import wait
from topo.plan import Plan


def detect_datapath() -> str:
    """``kernel`` where the machine has Open vSwitch's module, else ``user``."""
    dumped = wait.for_command(("ovs-dpctl", "dump-dps"))
    return "kernel" if dumped.returncode == 0 else "user"


def prefer_offloads() -> None:
    """Let the userspace datapath leave segmentation to the hosts; must be set before ovs-vswitchd starts."""
    run("ovs-vsctl", "--no-wait", "init")
    run("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true")


def count_often() -> None:
    """Have the counters of flows follow the packets by 0.2 s at most, in place of 0.5 s."""
    run("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "other_config:max-revalidator=200")


def part_from_controller(switch: str) -> None:
    """Take a switch's controller away, so that it closes its connection."""
    run("ovs-vsctl", "del-controller", switch)


def lead_to_controller(switch: str, controller: tuple[str, int]) -> None:
    """Give a switch its controller, as at boot, so that it connects to it."""
    address, port = controller
    target = f"tcp:{address}:{port}"
    run("ovs-vsctl", "set-controller", switch, target, "--", "set", "controller", switch, "max_backoff=1000")


def wait_for_interfaces(plan: Plan, seconds: float = 5) -> None:
    """Wait until Open vSwitch has opened every port of the plan. Raises DeadlineError, naming the others."""
    wanted = {end.interface for link in plan.links for end in link.ends if plan.is_switch(end.node)}

    def look() -> str | None:
        rows = run("ovs-vsctl", "--format=csv", "--no-headings", "--columns=name,ofport,error", "list", "Interface")
        there = {row.split(",")[0] for row in rows.splitlines() if row.split(",")[1] not in ("[]", "-1")}
        return f"ports not open: {', '.join(sorted(wanted - there))}" if wanted - there else None

    wait.until(look, what="switch ports", seconds=seconds)
