"""The firewall switched off for a while, or its rules changed: nginx on every server reads its configuration again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from services import nginx
from services.service import below
from topo import plan as roles
from topo import wait

if TYPE_CHECKING:
    from testbed.testbed import Testbed

Change = Callable[[str], str]
SECONDS = 15.0
STRICT = 'SecRule ARGS:message|ARGS:name "@rx (?i)select|union|drop" "id:9000,phase:2,t:none,deny,status:403"'
#: negative controls: how a firewall may be wrong, as a change of its rules
SPOILING: dict[str, Change] = {
    "nothing": lambda rules: rules,
    "asleep": lambda rules: rules.replace("SecRuleEngine On", "SecRuleEngine DetectionOnly"),
    "strict": lambda rules: f"{rules}\n{STRICT}\n",
    "silent": lambda rules: rules.replace("SecAuditEngine RelevantOnly", "SecAuditEngine Off"),
}


@contextmanager
def spoilt(testbed: Testbed, what: str) -> Iterator[None]:
    """The rules are changed in that way while the block runs."""
    if what == "nothing":
        yield
        return
    with changed(testbed, nginx.Shield().rules, SPOILING[what]):
        yield


@contextmanager
def off(testbed: Testbed) -> Iterator[None]:
    """No request is judged while the block runs; all else is as before."""
    with changed(testbed, nginx.CONFIG, lambda text: text.replace("modsecurity on;", "modsecurity off;")):
        yield


@contextmanager
def changed(testbed: Testbed, path: str, change: Change) -> Iterator[None]:
    """A file of every server's nginx is another while the block runs. Raises DeadlineError if one goes on as before."""
    with ExitStack() as stack:
        for host in testbed.plan.hosts_of(roles.WEB):
            stack.enter_context(_changed(testbed, host.name, path, change))
        yield


@contextmanager
def _changed(testbed: Testbed, host: str, path: str, change: Change) -> Iterator[None]:
    folder, name = below(testbed.inside(host), path)
    right = folder.read(name).decode()
    try:
        folder.write(name, change(right))
        _read_again(testbed, host)
        yield
    finally:
        folder.write(name, right)
        _read_again(testbed, host)


def _read_again(testbed: Testbed, host: str) -> None:
    """Its workers begin anew, each when it has ended what it was doing."""
    before = workers(testbed, host)
    process = testbed.supervisor.unit(f"{host}/{roles.WEB}").process
    assert process is not None
    process.send_signal(signal.SIGHUP)

    def look() -> str | None:
        now = workers(testbed, host)
        return None if now and not now & before else f"workers {sorted(now)}, before {sorted(before)}"

    wait.until(look, what=f"{host}: nginx with another configuration", seconds=SECONDS)


def workers(testbed: Testbed, host: str) -> set[int]:
    """The pids of the processes of a server's nginx that answer."""
    process = testbed.supervisor.unit(f"{host}/{roles.WEB}").process
    if process is None:
        return set()
    with suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}
    return set()


def spent_s(testbed: Testbed) -> float:
    """The processor seconds that all of them have used so far."""
    total = 0
    for host in testbed.plan.hosts_of(roles.WEB):
        for pid in workers(testbed, host.name):
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return total / 1e9
