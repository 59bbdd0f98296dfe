"""The alerts that a student meets first: each fires on its trouble, names the host, and goes when that is mended."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from fcntl import ioctl
from typing import Any

import pytest
from runningtestbed import Commands, RunningTestbed, one_line

from topo import wait
from topo.plan import SITE

pytestmark = pytest.mark.root
#: on a machine that does nothing else it is less than 2 s; here other tests run
FIRES_S, GOES_S = 10, 40
VISITS = f"while :; do curl -s -o /dev/null https://{SITE}/; sleep 0.02; done"
#: a form's own token first, as a browser would; four at once
GUESS = f"""guess() {{
jar=$(mktemp) url=https://{SITE}/login
for n in $(seq 20); do
    token=$(curl -s -c $jar -b $jar $url | sed -n 's/.*csrf_token" value="\\([^"]*\\)".*/\\1/p')
    curl -s -o /dev/null -e $url -c $jar -b $jar --data-urlencode csrf_token=$token -d 'name=a&password=b' $url
done
}}
guess & guess & guess & guess & wait"""
HOME = b"\x1b[H"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def watched(shared_commands: Commands) -> Iterator[RunningTestbed]:
    """One that is broken by hand again and again."""
    yield shared_commands.up("watched", "--monitoring", "on")
    shared_commands("down", "watched")


def alerts(bed: RunningTestbed) -> list[dict[str, Any]]:
    done = bed.commands("alerts", "--json", "--name", bed.name)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def fires(bed: RunningTestbed, name: str, host: str) -> dict[str, Any]:
    """The alert, waited for."""
    seen: list[dict[str, Any]] = []

    def look() -> str | None:
        rows = alerts(bed)
        seen[:] = [row for row in rows if row["alert"] == name and row["host"] in host.split()]
        return None if seen else f"{[(row['alert'], row['host']) for row in rows]}"

    wait.until(look, what=f"{name} of {host}", seconds=FIRES_S)
    return seen[0]


def quiet(bed: RunningTestbed) -> None:
    """No alert is firing any more."""
    wait.until(
        lambda: "; ".join(row["summary"] for row in alerts(bed)) or None, what="no alert", seconds=GOES_S, every=0.2
    )


@contextmanager
def replication_stopped(bed: RunningTestbed, host: str) -> Iterator[None]:
    bed.sql(host, "STOP SLAVE")
    try:
        yield
    finally:
        bed.sql(host, "START SLAVE")


@contextmanager
def working(bed: RunningTestbed, host: str, command: str) -> Iterator[None]:
    """In this block the host does something."""
    with bed.commands.popen("exec", "--name", bed.name, host, "--", "bash", "-c", command):
        yield


Trouble = Callable[[RunningTestbed], AbstractContextManager[None]]
MET_FIRST: list[tuple[str, str, Trouble]] = [
    ("ServerDown", "srv1", lambda bed: bed.broken("kill srv1 web", seconds=90)),
    ("HostSilent", "srv2", lambda bed: bed.broken("cut srv2", seconds=90)),
    ("ReplicationStopped", "srv2", lambda bed: replication_stopped(bed, "srv2")),
    ("ErrorRate", "srv3", lambda bed: bed.broken("error500 srv3", seconds=90)),
    ("DiskFull", "srv3", lambda bed: bed.broken("full srv3 log", seconds=90)),
    ("DeniedBurst", "attacker", lambda bed: working(bed, "attacker", "nmap -sS -n -Pn -p 1-2000 srv1")),
    ("LogInFailures", "srv1 srv2 srv3", lambda bed: working(bed, "client", GUESS)),
]


def test_no_alert_has_fired_since_the_boot(watched: RunningTestbed) -> None:
    with working(watched, "client", VISITS):
        for _ in range(20):
            assert alerts(watched) == []
            time.sleep(0.2)  # it is the time without an alert that is tested
    assert watched.metric('count_over_time(ALERTS{alertstate="firing"}[10m])') == {}
    said = watched.commands("alerts", "--name", watched.name)
    assert (said.returncode, said.stdout) == (0, "no alert is firing\n")


@pytest.mark.parametrize(("name", "host", "trouble"), [pytest.param(*row, id=row[0]) for row in MET_FIRST])
def test_an_alert_fires_and_goes(
    watched: RunningTestbed, name: str, host: str, trouble: Trouble, record_property: Callable[[str, object], None]
) -> None:
    quiet(watched)
    with working(watched, "client", VISITS):
        began = time.time()
        with trouble(watched):
            alert = fires(watched, name, host)
            status = watched.status()
            assert [row for row in status["alerts"] if (row["alert"], row["host"]) == (name, alert["host"])]
            shown = watched.commands("status", "--name", watched.name).stdout
            assert f"alert {name}: {alert['host']}" in shown
            table = watched.commands("alerts", "--name", watched.name).stdout
            assert name in table
            assert max(map(len, table.splitlines())) <= 80
    record_property("delay_s", datetime.fromisoformat(alert["since"]).timestamp() - began)
    assert alert["threshold"]
    assert alert["hint"]
    quiet(watched)


def test_without_prometheus_nobody_judges_and_that_is_said(watched: RunningTestbed) -> None:
    with watched.broken("kill mon metrics", seconds=90):
        done = watched.commands("alerts", "--name", watched.name)
        assert (done.returncode, done.stdout) == (2, "")
        assert one_line(done.stderr).startswith("foobar: mon's Prometheus does not answer: ")
        assert watched.status()["monitoring"].startswith("mon's Prometheus does not answer: ")
        page = watched.commands("top", "--once", "--name", watched.name)
        assert page.returncode == 0
        assert "no news for 0 s: mon's Prometheus does not answer" in page.stdout
    quiet(watched)
    steady = watched.status
    wait.until(lambda: "; ".join(steady()["problems"]) or None, what="steady", seconds=GOES_S)


@contextmanager
def top(bed: RunningTestbed, width: int, height: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """It, on a terminal of that size, and the terminal's other end."""
    screen, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    try:
        with bed.commands.popen("top", "--name", bed.name, stdin=terminal, stdout=terminal, stderr=terminal) as process:
            yield process, screen
    finally:
        os.close(screen)
        os.close(terminal)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_top_fits_its_terminal_and_q_leaves(watched: RunningTestbed, width: int, height: int) -> None:
    awaited = (watched.name, "req/s", "primary", "replica", "fault in force: kill srv1 web")
    shown = b""

    def pages() -> list[str]:
        return [ESCAPES.sub(b"", page).decode(errors="replace") for page in shown.split(HOME)]

    def look() -> str | None:
        nonlocal shown
        while select.select([screen], [], [], 0)[0]:
            shown += os.read(screen, 65536)
        *whole, last = pages()
        lacks = [words for words in awaited if not any(words in page for page in whole)]
        return None if len(whole) >= 3 and not lacks else f"{len(whole)} pages, none with {lacks}: {last}"

    with watched.broken("kill srv1 web", seconds=90), top(watched, width, height) as (process, screen):
        wait.until(look, what="three pages, and all of it on them", seconds=20)
        os.write(screen, b"q")
        assert process.wait(10) == 0
    assert max(len(line.rstrip("\r")) for page in pages() for line in page.split("\n")) <= width
