"""Everything the testbed shows on a terminal: the boot's waterfall, the map, the status, the policy."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from controllers.compile import TABLE_NAMES, cookie_name
from controllers.denied import Denied
from controllers.overlay import from_dict
from controllers.policy import Rule
from testbed.plainconsole import PlainConsole
from topo.plan import SITE, Plan
from topo.profile import SEED, Profile

console = PlainConsole()
FLOW = re.compile(
    r"cookie=(?P<cookie>0x[0-9a-f]+), .*?table=(?P<table>\d+), n_packets=(?P<packets>\d+), n_bytes=\d+, (?P<rest>.*)"
)
BAR_WIDTH = 24
PHASES = ("configured", "started", "ready")
#: the states of services that serve
WELL = ("ready", "by hand")


class Waterfall:
    """The services that were configured, started and ready since the boot began, as a table that grows.

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
    """The map: which host hangs on which switch, its zone and address, and what runs there."""
    core = plan.switches[0]
    tree = Tree(Text(core.name, style="bold yellow"))
    for _, far in plan.links_of(core.name):
        if not plan.is_switch(far.node):
            tree.add(_leaf(plan, far.node))
            continue
        firewall = tree.add(Text.assemble((far.node, "bold yellow"), " firewall"))
        for _, beyond in plan.links_of(far.node):
            if beyond.node != core.name:
                firewall.add(_leaf(plan, beyond.node))
    return Group(Text(f"https://{SITE}/   {describe(profile)}", style="bold"), tree)


def _leaf(plan: Plan, name: str) -> Text:
    host = plan.host(name)
    return Text.assemble((f"{host.name:9}", "bold"), f"{host.ip:12}", (f"{host.zone:11}", "cyan"), host.duty)


def describe(profile: Profile) -> str:
    """A profile in one line: ``seed``, and what differs from it."""
    changed = [f"--{axis} {value}" for axis, value in profile.as_dict().items() if value != SEED.as_dict()[axis]]
    return " ".join(["profile seed", *changed])


def status(rows: Sequence[Mapping[str, Any]]) -> Group | Text:
    """Running testbeds: each row is what ``status --json`` says of one."""
    if not rows:
        return Text("no testbed is running; start one with: up --detach")
    return Group(*(_one_status(row) for row in rows))


def _one_status(row: Mapping[str, Any]) -> Group:
    title = Text(f"{row['name']}: {row['phase']}, box pid {row['pid']}, since {row['started']}", style="bold")
    if row["answers"]:
        return Group(title, services(row))
    silence = [Text(f"  {problem}", style="red") for problem in row["problems"] if problem != row["phase"]]
    return Group(title, *silence)


def services(answer: Mapping[str, Any]) -> Group:
    """A testbed's services, as it tells of them itself (Testbed.status)."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("service", "state", "pid in the box", "restarts", "ready after"):
        table.add_column(column)
    for row in answer["services"]:
        ready = row["times"].get("ready")
        style = "green" if row["state"] in WELL else "red"
        table.add_row(
            row["id"],
            Text(row["state"], style=style),
            str(row["pid"] or ""),
            str(row["restarts"] or ""),
            f"{ready:.2f} s" if ready else "",
        )
    broken = [Text(f"  {fault(row)}", style="yellow") for row in answer["faults"]]
    firing = [Text(f"  alert {row['alert']}: {_alarm(row)}", style="red") for row in answer["alerts"]]
    above = [Text(f"  {from_dict(row).text()}", style="yellow") for row in answer["overlays"]]
    wrong = [Text(f"  {problem}", style="red") for problem in answer["problems"]]
    return Group(Text(_summary(answer)), *above, *broken, *wrong, *firing, table)


def _summary(answer: Mapping[str, Any]) -> str:
    blind = [f"no meters on {', '.join(answer['unsampled'])}: nothing sampled there"] if answer["unsampled"] else []
    unknown = [f"monitoring: {answer['monitoring']}"] if answer["monitoring"] else []
    steady = f"{'steady' if answer['steady'] else 'not steady'} at {_clock(answer['looked'])}"
    return "; ".join([steady, f"datapath: {answer['datapath']}", *blind, *unknown])


def fault(row: Mapping[str, Any]) -> str:
    """A fault in force, in one line (ActiveFaults.status)."""
    since = time.strftime("%H:%M:%S", time.localtime(row["since"]))
    whose = "heal it with: heal " + str(row["number"]) if row["by_hand"] else "an experiment's"
    return f"fault {row['number']}: {row['fault']}, since {since}; {whose}"


def alerts(rows: Sequence[Mapping[str, Any]], note: str) -> Group:
    """The firing alerts (monitored.alerts), each with what to look at."""
    young = [Text(note, style="yellow")] if note else []
    if not rows:
        return Group(Text("no alert is firing"), *young)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("since", "alert"):
        table.add_column(column, no_wrap=True)
    table.add_column("seen; threshold; look at")
    for row in rows:
        table.add_row(_clock(row["since"]), Text(row["alert"], style="bold red"), row["summary"])
        table.add_row("", "", Text(f"threshold: {row['threshold']}"))
        table.add_row("", "", Text(row["hint"], style="cyan"))
    return Group(table, *young)


def _alarm(row: Mapping[str, Any]) -> str:
    return f"{row['summary']}, since {_clock(row['since'])}"


def _clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")


def denied(event: Mapping[str, Any]) -> str:
    """A denied packet in one line (controllers/denied.py)."""
    when = event["time"]
    clock = time.strftime("%H:%M:%S", time.localtime(when)) + f"{when % 1:.3f}"[1:]
    return f"{clock}  {Denied(**event).text()}"


def rules(policy: tuple[Rule, ...], counters: Mapping[str, Mapping[str, int]]) -> Table:
    """The policy in order, with the packets that each rule has matched on each switch so far."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("#", "rule", "from", "to", "what", "action", "packets", "why"):
        table.add_column(column)
    for number, rule in enumerate(policy, start=1):
        packets = ", ".join(
            f"{switch} {counts[rule.name]}" for switch, counts in counters.items() if counts.get(rule.name)
        )
        style = "green" if rule.action == "allow" else "red"
        table.add_row(
            str(number),
            rule.name,
            rule.src,
            rule.dst,
            rule.what,
            Text(rule.action, style=style),
            packets or "0",
            rule.why,
        )
    return table


def flows(switch: str, dump: str, policy: tuple[Rule, ...]) -> Group:
    """A switch's flows, table by table, each with the name of its rule or of its part of the pipeline."""
    shown: list[RenderableType] = [Text(switch, style="bold")]
    for line in dump.splitlines():
        match = FLOW.match(line)
        if not match:
            continue
        cookie, table, packets, rest = (
            int(match["cookie"], 16),
            TABLE_NAMES[int(match["table"])],
            match["packets"],
            match["rest"],
        )
        shown.append(
            Text.assemble((f"{table:8}", "cyan"), (f"{cookie_name(cookie, policy):18}", "bold"), f"{packets:>8} ", rest)
        )
    return Group(*shown)
