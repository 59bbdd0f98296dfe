"""Fault scenarios: the faults that experiments and labs inject, by name. A kind of fault at a selected target.

To add one is one line here; a new kind of fault is a file of its own first, and a line in registry.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from testbed.faults.kind import Fault
from testbed.faults.registry import KINDS
from testbed.faults.selection import FIREWALL_OF, ONE_WEB, PRIMARY, Selection
from topo import plan as roles
from topo.errors import UsageError, among
from topo.plan import APP, BALANCER, Plan

ALL = "all"
NO_REASONS: Mapping[str, str] = {}
MANAGED = ("async", "semisync")
EVERY = ("single", *MANAGED, "galera")


@dataclass(frozen=True)
class Scenario:
    """``what`` it means, as a sentence's part. ``fault`` has selectors; `at` puts a host in their place."""

    name: str
    what: str
    fault: Fault
    #: the whole host is lost, its database too
    takes_host: bool = field(default=False, kw_only=True)
    #: the values of ``--db`` that it makes sense for
    designs: tuple[str, ...] = field(default=EVERY, kw_only=True)
    #: two of three databases are hit: no write can be promised before one of them is healed
    after_healing: bool = field(default=False, kw_only=True)
    #: the primary greets while it is in force: its kind says itself how it was seen
    greets: bool = field(default=False, kw_only=True)
    #: the primary is not hit, and may remain
    keeps_primary: bool = field(default=False, kw_only=True)

    @property
    def symptom(self) -> str:
        """The symptom of its kind of fault."""
        return KINDS[self.fault.kind].symptom

    def at(self, host: str, plan: Plan, what: str = "") -> Fault:
        """The fault, with ``host`` for the selected target; ``what`` is its other end where the scenario has none."""
        select = Selection(plan, lambda: host)

        def filled(selector: str) -> str:
            return "".join(select(selector.replace(ONE_WEB, host)))

        end = filled(self.fault.what) if KINDS[self.fault.kind].between else self.fault.what
        return replace(self.fault, target=filled(self.fault.target), what=end or what)


#: what can happen to a web server
WEB: Sequence[Scenario] = (
    Scenario("kill-nginx", "nginx is killed", Fault("kill", ONE_WEB, roles.WEB)),
    Scenario("kill-app", "the application is killed; nginx answers 502", Fault("kill", ONE_WEB, APP)),
    Scenario("stop-nginx", "nginx is stopped in order", Fault("stop", ONE_WEB, roles.WEB)),
    Scenario("stop-app", "the application is stopped in order; then nginx answers 502", Fault("stop", ONE_WEB, APP)),
    Scenario("freeze-nginx", "nginx hangs; its connections stay open", Fault("freeze", ONE_WEB, roles.WEB)),
    Scenario("freeze-app", "the application hangs behind a healthy nginx", Fault("freeze", ONE_WEB, APP)),
    Scenario("error500", "the application answers 500 to everything", Fault("error500", ONE_WEB, APP)),
    Scenario("cut", "its cable is cut", Fault("cut", ONE_WEB, f"{FIREWALL_OF}{ONE_WEB}"), takes_host=True),
    Scenario(
        "blackhole-to",
        "what the balancer sends to it vanishes",
        Fault("blackhole", BALANCER, ONE_WEB),
        takes_host=True,
    ),
    Scenario(
        "blackhole-from",
        "what it sends to the balancer vanishes",
        Fault("blackhole", ONE_WEB, BALANCER),
        takes_host=True,
    ),
    Scenario("off-host", "its power fails", Fault("off", ONE_WEB), takes_host=True),
    Scenario("off-switch", "its firewall's power fails", Fault("off", f"{FIREWALL_OF}{ONE_WEB}"), takes_host=True),
)
#: what can happen to the primary database
DATABASE: Sequence[Scenario] = (
    Scenario("crash", "the primary's database is killed", Fault("kill", PRIMARY, roles.DATABASE)),
    Scenario("freeze", "the primary's database is frozen", Fault("freeze", PRIMARY, roles.DATABASE)),
    Scenario("cut", "the primary's link is cut", Fault("cut", PRIMARY), takes_host=True),
    Scenario("off", "the primary's host loses power", Fault("off", PRIMARY), takes_host=True),
    Scenario(
        "flap",
        "the primary's link goes and comes back",
        Fault("flap", PRIMARY),
        takes_host=True,
        designs=MANAGED,
        greets=True,
    ),
    Scenario("stuck", "the primary answers, and ends no write", Fault("stuck", PRIMARY), designs=MANAGED, greets=True),
    *(
        Scenario(
            name,
            KINDS[name].does,
            Fault(name, PRIMARY),
            designs=MANAGED,
            after_healing=name == "candidate",
            greets=name in ("lone", "planned"),
            keeps_primary=name == "lone",
        )
        for name in ("candidate", "manager", "unwatched", "lag", "severed", "lone", "planned")
    ),
)


def eligible(design: str) -> list[Scenario]:
    """The scenarios of the database that make sense for a value of ``--db``."""
    return [scenario for scenario in DATABASE if design in scenario.designs]


def left_out(design: str) -> dict[str, str]:
    """The others, each with the reason."""
    reason = f"--db {design} has no failover manager"
    return {scenario.name: reason for scenario in DATABASE if design not in scenario.designs}


def named(text: str, possible: Sequence[Scenario], reasons: Mapping[str, str] = NO_REASONS) -> list[Scenario]:
    """The scenarios that a flag asks for: ``all``, or names with commas; ``reasons``: why others are left out.

    Raises UsageError, naming the possible ones.
    """
    if text == ALL:
        return list(possible)
    scenarios = {scenario.name: scenario for scenario in possible}
    for name in text.split(","):
        if name not in scenarios:
            reason = reasons.get(name, "no such fault")
            raise UsageError(f"--faults {name}: {reason}; faults: {ALL}, {among(name, scenarios)}")
    return [scenarios[name] for name in text.split(",")]
