"""What breaks one part must not break another: the controller, single daemons, foreign flows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from runningtestbed import Commands, RunningTestbed

from controllers.compile import POLICY
from services.controller import INSTALLED
from topo import wait
from topo.plan import SITE
from topo.plan import plan as plan_of
from topo.profile import Profile

pytestmark = [pytest.mark.root, pytest.mark.alone]
SWITCHES = [switch.name for switch in plan_of(Profile()).switches]
CONTROLLER = "box/controller"

# one HTTPS connection, one request on it for each line of input
KEEP_ALIVE = f"""
import http.client, ssl, sys
visit = http.client.HTTPSConnection("{SITE}", context=ssl.create_default_context(), timeout=5)
visit.connect()
print(visit.sock.getsockname()[1], flush=True)
visit.auto_open = False  # never a second connection in the place of the first
for line in sys.stdin:
    visit.request("GET", "/healthz")
    answer = visit.getresponse()
    answer.read()
    print(answer.status, flush=True)
"""


class Held:
    """A connection that is kept open from the client to the site."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self) -> str:
        """The status of one more request on it; empty when the connection broke."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._line()


@contextmanager
def held(bed: RunningTestbed) -> Iterator[Held]:
    argv = ("exec", "--name", bed.name, "client", "--", "python3", "-c", KEEP_ALIVE)
    with bed.commands.popen(*argv, stdin=subprocess.PIPE) as process:
        yield Held(process)


def connected(bed: RunningTestbed) -> set[str]:
    """What each switch says about its controller."""
    return set(
        bed.run(
            "box", "ovs-vsctl", "--columns=is_connected", "-f", "csv", "--no-headings", "list", "Controller"
        ).split()
    )


def kill_controller(bed: RunningTestbed) -> int:
    """Its pid in the box, which is now a dead process's."""
    pid = bed.service(CONTROLLER)["pid"]
    bed.run("box", "kill", "-9", str(pid))
    return int(pid)


def until_back(bed: RunningTestbed, old_pid: int, visit: Held | None = None) -> None:
    """A connection that is held open is asked all the while: the balancer closes one that is silent for 10 s."""

    def look() -> str | None:
        assert visit is None or visit.ask() == "200"
        row = bed.service(CONTROLLER)
        if row["pid"] == old_pid or row["state"] != "ready":
            return f"pid {row['pid']}, {row['state']}"
        return None if connected(bed) == {"true"} else "not connected to every switch"

    wait.until(look, what="the controller back", seconds=15)


def test_killing_the_controller_changes_no_verdict(second: RunningTestbed) -> None:
    """Old and new connections keep their verdicts while it is away and after it has come back."""
    with held(second) as visit:
        assert visit.ask() == "200"
        tracked = _tracked(second, visit.port)
        assert tracked
        allowed_before, denied_before = second.counter("core", "site-https"), second.counter("fw1", "deny-rest")
        old = kill_controller(second)
        assert visit.ask() == "200"
        assert second.connects("client", SITE, 443)
        assert not second.connects("attacker", "srv1.foobar.com", 80, seconds=0.3)
        until_back(second, old, visit)
        assert visit.ask() == "200"
        assert second.connects("client", SITE, 443)
        second.assert_blocked("attacker", "srv1.foobar.com", 22, by="fw1", instead=(SITE, 443))
        assert _tracked(second, visit.port) == tracked, "the connection was forgotten, or is another now"
        assert second.counter("core", "site-https") > allowed_before, "counters go on counting"
        assert second.counter("fw1", "deny-rest") > denied_before + 1
    assert second.service(CONTROLLER)["restarts"] >= 1


def _tracked(bed: RunningTestbed, port: int) -> list[str]:
    """Every zone's entry of a visitor's connection, without what changes all the time."""
    entries = bed.run("box", "ovs-appctl", "dpctl/dump-conntrack").splitlines()
    # others, from the balancer to a server, may have the same port
    return sorted(entry for entry in entries if f"orig=(src=10.0.1.10,dst=10.0.2.10,sport={port},dport=443)" in entry)


def test_verdicts_hold_with_no_controller_at_all(second: RunningTestbed) -> None:
    """Frozen: the switches lose it for certain, for as long as the test looks."""
    pid = second.service(CONTROLLER)["pid"]
    with held(second) as visit:
        assert visit.ask() == "200"
        second.run("box", "kill", "-STOP", str(pid))
        try:
            # asked all the while: the balancer closes a connection that is silent for 10 s
            wait.until(lambda: _alone(second, visit), what="switches alone", seconds=60)
            assert visit.ask() == "200"
            assert second.exec("client", "curl", "-sS", "--fail", "-o", "/dev/null", f"https://{SITE}/").returncode == 0
            second.assert_blocked("attacker", "srv1.foobar.com", 22, by="fw1", instead=(SITE, 443))
            assert visit.ask() == "200"
            second.assert_blocked("srv1", "10.0.1.10", 22, by="fw1", instead=("lb", 3306))
            assert visit.ask() == "200"
        finally:
            second.run("box", "kill", "-CONT", str(pid))
        wait.until(lambda: _together(second, visit), what="switches connected", seconds=30)
        assert visit.ask() == "200"


def _together(bed: RunningTestbed, visit: Held) -> str | None:
    assert visit.ask() == "200"
    return None if connected(bed) == {"true"} else "alone"


def _alone(bed: RunningTestbed, visit: Held) -> str | None:
    assert visit.ask() == "200"
    return None if connected(bed) == {"false"} else "still connected"


def test_a_foreign_flow_is_gone_after_the_controller_came_back(second: RunningTestbed) -> None:
    hole = f"table={POLICY},priority=65000,ip,nw_dst=10.0.3.11,tcp,tp_dst=22"
    second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "add-flow", "fw1", f"{hole},actions=goto_table:3")
    second.run("box", "ovs-ofctl", "-O", "OpenFlow13", "del-flows", "fw2", "table=3")
    assert _flows(second, "fw1") != _compiled("fw1")
    old = kill_controller(second)
    until_back(second, old)
    for switch in SWITCHES:
        wait.until(
            lambda switch=switch: None if _flows(second, switch) == _compiled(switch) else "differs",  # type: ignore[misc]
            what=f"the flows of {switch}",
            seconds=10,
        )
    second.assert_blocked("attacker", "srv1.foobar.com", 22, by="fw1", instead=(SITE, 443))
    assert second.exec("lb", "curl", "-sS", "--fail", "-o", "/dev/null", "http://srv2/healthz").returncode == 0


def _flows(bed: RunningTestbed, switch: str) -> int:
    text = bed.run("box", "ovs-ofctl", "-O", "OpenFlow13", "--no-stats", "dump-flows", switch)
    return len([line for line in text.splitlines() if "actions=" in line])


def _compiled(switch: str) -> int:
    from runningtestbed import PROJECT

    return len((PROJECT / "tests" / "golden" / "flows" / f"{switch}.txt").read_text().splitlines())


def test_every_switch_confirmed_its_flows(second: RunningTestbed) -> None:
    confirmed = json.loads(second.run("box", "cat", INSTALLED))
    counted = {dpid: told["flows"] for dpid, told in confirmed.items()}
    assert counted == {str(number): _compiled(name) for number, name in enumerate(SWITCHES, start=1)}


def test_killing_nginx_on_one_server_leaves_the_others(commands: Commands) -> None:
    bed = commands.up("c")
    before = {name: bed.service(f"{name}/web")["pid"] for name in ("srv2", "srv3")}
    assert bed.status()["steady"]
    bed.run("srv1", "pkill", "nginx")
    wait.until(
        lambda: None if bed.service("srv1/web")["state"] == "died" else "runs", what="srv1's nginx dead", seconds=5
    )
    assert not bed.status()["steady"]
    assert {name: bed.service(f"{name}/web")["pid"] for name in before} == before
    for name in before:
        assert bed.exec("lb", "curl", "-sS", "--fail", "-o", "/dev/null", f"http://{name}/healthz").returncode == 0
    wait.until(lambda: _served_without(bed, "srv1"), what="the balancer without srv1", seconds=20)


def _served_without(bed: RunningTestbed, server: str) -> str | None:
    shown = bed.run("client", "sh", "-c", f"for i in 1 2 3 4; do curl -sS -o /dev/null -D - https://{SITE}/; done")
    served = {line.split(":")[1].strip() for line in shown.splitlines() if line.lower().startswith("x-served-by")}
    return None if served and server not in served else f"served by {served}"
