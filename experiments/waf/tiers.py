"""The traces of attacks on the hosts: requests in their logs, refusals in the store, files that should not be."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from experiments.waf.attacktexts import CANARY
from experiments.waf.effects import FIREWALL
from experiments.waf.evidence import AttackAnswer
from services.monitoring import logrecord, logstore
from services.service import below
from services.waf import refusal
from topo import plan as roles
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from testbed.testbed import Testbed

OLDER = re.compile(r'class="pager"[^>]*><a[^>]*href="([^"]+)"')
_SMUGGLED = re.compile(rb"/smuggled-\d+")
#: s until what was refused last is stored; s that clocks may differ
STORED_SECONDS, BEFORE_S = 15.0, 5.0


def unseen(testbed: Testbed, paths: Iterable[str]) -> set[str]:
    """Paths that a server was asked for without the balancer having known; behind TLS that it passes on, none."""
    asked = [path for path in paths if path]
    if not asked or testbed.profile.tls == "passthrough":
        return set()
    return hidden(_counted(testbed, roles.BALANCER), _counted(testbed, roles.WEB), asked)


def hidden(front: Mapping[str, int], behind: Mapping[str, int], paths: Iterable[str]) -> set[str]:
    """The paths that are oftener in the logs behind than in those in front."""
    return {path for path in paths if behind.get(path, 0) > front.get(path, 0)}


def _counted(testbed: Testbed, role: str) -> Counter[str]:
    """The requests for each smuggled path, by the logs of all hosts of a role."""
    counts: Counter[str] = Counter()
    for host in testbed.plan.hosts_of(role):
        unit = testbed.supervisor.unit(f"{host.name}/{role}")
        for log in unit.service.logs:
            with suppress(OSError):
                lines = unit.written(log).splitlines()
                counts.update(match[0].decode() for line in lines if (match := _request(line)))
    return counts


def _request(line: bytes) -> re.Match[bytes] | None:
    """The smuggled path in a line about a request; a line about an error repeats what was refused."""
    return _SMUGGLED.search(line) if b'"request":"' in line else None


def stored_refusals(testbed: Testbed, answers: Sequence[AttackAnswer], since: float) -> tuple[int, int] | None:
    """Of the firewall's refusals, those that are stored with their request's id, and all; None without monitoring."""
    if not testbed.profile.monitored:
        return None
    wanted = {answer["request"] for answer in answers if answer["by"] == FIREWALL}
    found: set[str] = set()

    def look() -> str | None:
        found.update(_stored(testbed, since) & wanted)
        return None if found == wanted else f"{len(found)} of {len(wanted)}"

    with suppress(DeadlineError):
        wait.until(look, what="refusals on the monitoring host", seconds=STORED_SECONDS, every=0.2)
    return len(found), len(wanted)


def _stored(testbed: Testbed, since: float) -> set[str]:
    """The ids of all refusals in the store."""
    folder, _ = below(testbed.inside(testbed.plan.host_of(roles.MONITOR).name), logstore.CURRENT)
    ids = set()
    for line in logstore.stored(folder, since - BEFORE_S):
        if b"waf.log" in line:
            with suppress(ValueError, RecursionError):
                record = logrecord.record(json.loads(line))
                if record.file == refusal.LOG:
                    ids.add(record.request)
    return ids


def left_behind(testbed: Testbed) -> list[str]:
    """Files that commands of attacks made on servers."""
    places = {host.name for role in (roles.WEB, roles.APP, roles.DATABASE) for host in testbed.plan.hosts_of(role)}
    return [f"{name}:{CANARY}" for name in sorted(places) if testbed.inside(name).path(CANARY).exists()]
