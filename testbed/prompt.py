"""Mininet's command line, with the testbed's own commands beside its usual ones.

One of the two files that import mininet (the other is network.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mininet.cli import CLI

from controllers.ovs import ofctl
from testbed import policies, render
from testbed.session import Visit
from testbed.testbed import Testbed
from topo.errors import FoobarError, UsageError

BANNER = """\
Type help for all commands. A host's name first runs a command there: client curl https://www.foobar.com/
Ours: status, policy, verify, apply FILE, flows [SWITCH], denied, logs HOST [SERVICE], switchover HOST, journey,
fault KIND TARGET [WHAT], heal. Leave with exit or Ctrl-D."""


class CommandLine(CLI):  # type: ignore[misc]
    """Runs until the person leaves; the testbed ends with it."""

    def __init__(self, testbed: Testbed, runs: Path, visit: Visit) -> None:
        self.testbed = testbed
        self.runs = runs
        self.visit = visit
        render.console.print(BANNER)
        super().__init__(testbed.network.mininet)

    def onecmd(self, line: str) -> Any:
        """One line typed; an error of ours is a line on the screen and the session goes on."""
        try:
            return super().onecmd(line)
        except FoobarError as error:
            render.console.print("\n".join(filter(None, [str(error), error.detail])), style="red")
            return None

    def do_status(self, _line: str) -> None:
        """status: is the testbed steady, and every service's state"""
        steady = self.testbed.look()
        render.console.print(render.services(self.testbed.status()))
        if steady.problems:
            render.console.print(steady.problems, style="red")

    def do_policy(self, _line: str) -> None:
        """policy: the firewalls' rules in order, with the packets each has matched on each switch"""
        render.console.print(render.rules(self.testbed.rules, self.testbed.rule_counters()))

    def do_apply(self, line: str) -> None:
        """apply FILE: put a policy file in force (docs/policy.md)"""
        path = Path(line.strip())
        if not path.is_file():
            raise FoobarError("usage: apply FILE, a policy as `policy show --file` prints it")
        found = self.testbed.adoption.apply(path.read_text(), str(path))
        for each in policies.applied(found):
            render.console.print(each)

    def do_verify(self, _line: str) -> None:
        """verify: prove that the switches let through what the policy allows, and nothing else"""
        for each in policies.verdict(self.testbed.adoption.verify()):
            render.console.print(each)

    def do_denied(self, _line: str) -> None:
        """denied: packets that the firewalls denied, as samples: when, who, whom, what, by which rule"""
        for event in self.testbed.denied():
            render.console.print(render.denied(event))

    def do_flows(self, line: str) -> None:
        """flows [SWITCH]: a switch's flow tables, each flow with the rule it comes from"""
        for name in line.split() or self._switches():
            self.testbed.plan.switch(name)
            render.console.print(render.flows(name, ofctl.dump_flows(name), self.testbed.rules))

    def do_logs(self, line: str) -> None:
        """logs HOST [SERVICE]: the last lines of what the services on a host have written"""
        host, _, word = " ".join(line.split()).partition(" ")
        here = [unit for unit in self.testbed.supervisor.units if unit.service.host == host]
        units = [unit for unit in here if not word or unit.service.is_called(word)]
        if not units:
            ids = ", ".join(unit.service.id.replace("/", " ") for unit in self.testbed.supervisor.units)
            raise FoobarError(f"usage: logs HOST [SERVICE], one of: {ids}")
        for unit in units:
            render.console.print(unit.tail() or f"{unit.service.id}: nothing written yet", markup=False)

    def do_switchover(self, line: str) -> None:
        """switchover HOST: another server takes the database's writes, planned"""
        words = line.split()
        if len(words) != 1:
            raise FoobarError("usage: switchover HOST")
        told = self.testbed.switch_over(words[0])
        render.console.print(f"{told['primary']} takes the writes; they waited for {told['held_ms']:g} ms")

    def do_fault(self, line: str) -> None:
        """fault KIND TARGET [WHAT]: break something, as in: fault kill srv1 web; fault list: what is broken"""
        from testbed.faults import injection, registry, selection

        if line.split() == ["list"]:
            rows = self.testbed.active_faults.status()
        else:
            words = selection.words(line.split())
            if not 1 <= len(words) <= 3:
                kinds = "\n".join(f"  {name} {kind.words}: {kind.does}" for name, kind in registry.KINDS.items())
                raise UsageError(f"usage: fault KIND TARGET [WHAT], or fault list; kinds:\n{kinds}")
            rows = [injection.by_hand(self.testbed, *words)]
        for row in rows:
            render.console.print(render.fault(row))

    def do_heal(self, line: str) -> None:
        """heal [NUMBER]: mend one fault, or all that were injected here or from another terminal"""
        word = line.strip() or "all"
        if word != "all" and not word.isdecimal():
            raise UsageError(f"heal {word}: a fault's number, or all")
        for healed in self.testbed.active_faults.heal(None if word == "all" else int(word)):
            render.console.print(f"healed: {healed}")

    def do_journey(self, _line: str) -> None:
        """journey: one visit to the site, followed through all 13 steps"""
        self.visit(self.testbed, self.runs)

    def do_pingall(self, line: str) -> None:
        """pingall [SECONDS]: ping between all hosts; a pair that is kept apart waits for SECONDS (1)"""
        super().do_pingall(line or "1")

    def complete_flows(self, text: str, *_: Any) -> list[str]:
        return [name for name in self._switches() if name.startswith(text)]

    def complete_fault(self, text: str, line: str, *_: Any) -> list[str]:
        from testbed.faults import injection

        services = [unit.service for unit in self.testbed.supervisor.units]
        before = line.split()[1:] if line.endswith(" ") else line.split()[1:-1]
        words = [str(fault).split() for fault in injection.possible(self.testbed.plan, services)] + [["list"]]
        return sorted({each[len(before)] for each in words if _goes_on(each, before, text)})

    def complete_heal(self, text: str, *_: Any) -> list[str]:
        numbers = [str(row["number"]) for row in self.testbed.active_faults.status() if row["by_hand"]]
        return [each for each in (*numbers, "all") if each.startswith(text)]

    def complete_logs(self, text: str, line: str, *_: Any) -> list[str]:
        services = [unit.service for unit in self.testbed.supervisor.units]
        before = line.split()[1:] if line.endswith(" ") else line.split()[1:-1]
        names = (
            {each.role for each in services if each.host == before[0]} if before else {each.host for each in services}
        )
        return sorted(name for name in names if name.startswith(text))

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        """Commands, and hosts to run a command on."""
        hosts: Sequence[str] = [host.name for host in self.testbed.plan.hosts]
        return [*super().completenames(text, *ignored), *(name for name in hosts if name.startswith(text))]

    def _switches(self) -> list[str]:
        return [switch.name for switch in self.testbed.plan.switches]


def _goes_on(words: Sequence[str], before: Sequence[str], text: str) -> bool:
    """Whether these words begin with those before the cursor, and have one next that begins as it does."""
    more = words[len(before) :]
    return list(words[: len(before)]) == list(before) and bool(more) and more[0].startswith(text)
