"""Everything the testbed shows on a terminal: the boot's waterfall, the map, the status, the policy."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from controllers.policy import Rule
from topo.plan import SITE, Plan
from topo.profile import SEED, Profile

console = Console(highlight=False)
BAR_WIDTH = 24
PHASES = ("configured", "started", "ready")


class Waterfall:
    """What has been configured, started and ready since the boot began, as a table that grows.

    ``with waterfall:`` shows it live on a terminal, and once at the end elsewhere; ``shown=False``: not at all.
    """

    def __init__(self, *, shown: bool = True) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()
        self._shown = shown
        self._live = Live(get_renderable=self.table, console=console, refresh_per_second=10)

    def __enter__(self) -> None:
        if self._shown and console.is_terminal:
            self._live.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and console.is_terminal:
            self._live.stop()
        elif self._shown and self.rows:
            console.print(self.table())

    def mark(self, what: str, phase: str, seconds: float) -> None:
        with self._lock:
            self.rows.setdefault(what, {})[phase] = seconds

    def table(self) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="bold")
        table.add_column("boot", no_wrap=True)
        for phase in PHASES:
            table.add_column(phase, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        with self._lock:
            rows = {what: dict(times) for what, times in self.rows.items()}
        end = max((max(times.values()) for times in rows.values()), default=1.0)
        for what, times in rows.items():
            cells = [f"{times[phase]:.2f} s" if phase in times else "" for phase in PHASES]
            table.add_row(what, *cells, _bar(times, end))
        return table


def _bar(times: Mapping[str, float], end: float) -> Text:
    """Dots until it was started, a thin line until it served."""
    ready = round(BAR_WIDTH * times.get("ready", end) / end)
    started = min(round(BAR_WIDTH * times.get("started", times.get("ready", end)) / end), ready)
    done = "ready" in times
    return Text.assemble(
        (" " * started, ""),
        ("─" * (ready - started), "yellow"),
        ("●" if done else "…", "green" if done else "yellow"),
    )


def topology(plan: Plan, profile: Profile) -> Group:
    """The map: who stands where, behind which firewall, at which address."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("zone", "host", "address", "behind", "runs"):
        table.add_column(column)
    behind = {switch.guards: switch.name for switch in plan.switches if switch.guards}
    for host in plan.hosts:
        table.add_row(host.zone, host.name, host.ip, behind.get(host.name, "core"), _runs(plan, host.name))
    return Group(Text(f"https://{SITE}/   {describe(profile)}", style="bold"), table)


def _runs(plan: Plan, host: str) -> str:
    if host in {server.name for server in plan.servers}:
        role = "primary" if host == plan.primary.name else "replica"
        return f"nginx, application, MariaDB ({role})"
    return {
        "client": "a visitor",
        "attacker": "nmap, hping3, Scapy",
        "dns": "NSD, authoritative for foobar.com",
        "lb": "HAProxy: TLS, balancing, database write endpoint",
        "mon": "the monitoring host",
    }[host]


def describe(profile: Profile) -> str:
    """A profile in one line: ``seed``, and what differs from it."""
    changed = [f"--{axis} {value}" for axis, value in profile.as_dict().items() if value != SEED.as_dict()[axis]]
    return " ".join(["profile seed", *changed])


def status(entries: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]) -> Group | Text:
    """Running testbeds: (state entry, what the testbed itself answered or None)."""
    if not entries:
        return Text("no testbed is running; start one with: up --detach")
    return Group(*(_one_status(entry, answer) for entry, answer in entries))


def _one_status(entry: Mapping[str, Any], answer: Mapping[str, Any] | None) -> Group:
    title = Text(f"{entry['name']}: {entry['phase']}, box pid {entry['pid']}, since {entry['started']}", style="bold")
    if answer is None:
        return Group(title)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("service", "state", "pid in the box", "restarts", "ready after"):
        table.add_column(column)
    for row in answer["services"]:
        ready = row["times"].get("ready")
        style = "green" if row["state"] == "ready" else "red"
        table.add_row(
            row["id"],
            Text(row["state"], style=style),
            str(row["pid"] or ""),
            str(row["restarts"] or ""),
            f"{ready:.2f} s" if ready else "",
        )
    steady = "steady" if answer["steady"] else "not steady"
    return Group(title, Text(f"{steady}; datapath: {answer['datapath']}"), table)


def rules(policy: tuple[Rule, ...], counts: Mapping[int, Mapping[str, int]]) -> Table:
    """The policy in order, with the packets that each rule has decided on each switch so far."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("#", "rule", "from", "to", "what", "action", "packets", "why"):
        table.add_column(column)
    for number, rule in enumerate(policy, start=1):
        packets = ", ".join(f"{switch} {count}" for switch, count in counts.get(number, {}).items() if count)
        what = rule.proto if rule.port is None else f"{rule.proto}/{rule.port}"
        style = "green" if rule.action == "allow" else "red"
        table.add_row(
            str(number), rule.name, rule.src, rule.dst, what, Text(rule.action, style=style), packets or "0", rule.why
        )
    return table
