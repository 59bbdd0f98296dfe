"""An alert as a value, and what its expression is made of: the growth of counters, the present word of hosts."""

from __future__ import annotations

from dataclasses import dataclass

#: a monitoring client looks every second and pushes a little later, always by as much (vmagent.py): its host is silent
#: when its newest sample is older by so much than the youngest of late was when it came (rules.py)
BEYOND_S = 1.6
#: no sample of a host that is not silent is older
OLDEST_S = 3.0
#: the host that is heard soonest is late by less, if only some are silent; if it is later (or was, a little before, for
#: not all catch up at once), then it is the watcher, its own link, or the machine: no host is to blame
ALL_LATE_S, GRACE_S = 1.3, 2
#: the time over which a rate is taken; an answer of three samples
WINDOW_S = 3
#: when each host's newest sample was taken, also when that is long ago (rules.py records it)
SEEN = "max by (host) (timestamp(up)) or monitoring_seen"
SILENT = f"time() - ({SEEN}) > on(host) (monitoring_lag + {BEYOND_S})"
#: what is told of a host that is silent while others are heard (rules.py records how late the soonest of them is)
ALONE = f"unless on() (max_over_time(monitoring_late[{GRACE_S}s]) > {ALL_LATE_S})"
#: s that a host's exporter may take for its own look; where it takes longer, that host is late with everything
LATE_LOOK_S = 0.25


@dataclass(frozen=True)
class Alert:
    """One rule. ``expr``: PromQL that has a sample for each host with trouble; ``hint``: commands that show more.

    ``summary`` says host and value, with Prometheus' own placeholders; ``threshold``: the value that ``expr`` compares
    with, for people. ``after``: seconds for which it must hold; ``hold``: seconds for which it goes on firing.
    """

    name: str
    expr: str
    threshold: str
    summary: str
    hint: str
    after: float = 0.0
    hold: float = 0.0

    @property
    def rules(self) -> list[dict[str, object]]:
        """As Prometheus reads it. Its own ``keep_firing_for`` is not there before version 2.42."""
        record = f"alert:{self.name}"
        lasting = f"{record} or last_over_time({record}[{self.hold:g}s])"
        rule: dict[str, object] = {
            "alert": self.name,
            "expr": lasting if self.hold else self.expr,
            "for": f"{round(self.after * 1000)}ms",
            "annotations": {"summary": self.summary, "threshold": self.threshold, "hint": self.hint},
        }
        return [{"record": record, "expr": self.expr}, rule] if self.hold else [rule]


def grown(series: str, source: str, seconds: float = WINDOW_S) -> str:
    """The growth of counters in the last seconds, also of one that has just begun; only where its source answered
    before: a source that comes back says a total, and no growth. One that begins anew has not shrunk."""
    before = f"({series} offset {seconds:g}s or {series} * 0)"
    return f'(clamp_min({series} - {before}, 0) and on(host) (up{{job="{source}"}} offset {seconds:g}s == 1))'


def fresh(vector: str) -> str:
    """The present word of each host; not the last one of a host that is silent.

    That is asked of a recorded series: to find it out in each rule took a tenth of all judging (10.75 and 9.57 ms).
    """
    return f"({vector} unless on(host) monitoring_silent)"
