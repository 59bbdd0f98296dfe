"""Logs on their way to the monitoring host: none is lost when that dies in any way, few when a shipper is killed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands, RunningTestbed

from services.monitoring.logrecord import TIERS
from services.monitoring.logsender import CONFIRMED, READ
from services.monitoring.logshipper import AUTHORITY, CONFIG, PROOF
from services.monitoring.logstore import CURRENT
from topo import wait

pytestmark = pytest.mark.root
#: lines a second on each of the hosts that write
RATE, WRITERS = 200, ("srv1", "srv2", "srv3")
SHIPPED = "/var/log/exporter.log"
WRITE = """
import sys, time
log, mark, lines, rate = open(sys.argv[1], "ab", buffering=0), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
begin = time.monotonic()
for number in range(lines):
    log.write(b"[%s %06d]\\n" % (mark.encode(), number))
    time.sleep(max(0.0, begin + number / rate - time.monotonic()))
"""
marks = (f"mark{number}x" for number in count())


@contextmanager
def writing(bed: RunningTestbed, host: str, mark: str, lines: int, log: str = SHIPPED) -> Iterator[None]:
    """Numbered lines are written on a host while the block runs, and all have been when it ends."""
    words = (
        "exec",
        "--name",
        bed.name,
        host,
        "--",
        sys.executable,
        "-S",
        "-c",
        WRITE,
        log,
        mark,
        str(lines),
        str(RATE),
    )
    with bed.commands.popen(*words) as writer:
        yield
        assert writer.wait(lines / RATE + 60) == 0


def search(bed: RunningTestbed, *words: str) -> list[dict[str, Any]]:
    done = bed.commands("logs", "--name", bed.name, *words, "--since", "10m", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def numbers(bed: RunningTestbed, host: str, mark: str) -> list[int]:
    """The numbers that have been collected, in order and each as often as it is read."""
    return sorted(int(row["text"].split()[1][:6]) for row in search(bed, host, "--grep", f"{mark} "))


def lost(bed: RunningTestbed, host: str, mark: str, lines: int, *, few: int = 0, seconds: float = 40) -> int:
    """How many lines are missing when no more come; each that is there is read once."""
    seen: list[int] = []

    def look() -> str | None:
        seen[:] = numbers(bed, host, mark)
        return None if len(seen) >= lines - few and lines - 1 in seen else f"{len(seen)} of {lines} lines"

    wait.until(look, what=f"the lines of {host}", seconds=seconds)
    assert len(set(seen)) == len(seen)
    return lines - len(seen)


@pytest.fixture(scope="module")
def watched(second: RunningTestbed) -> RunningTestbed:
    return second


@pytest.mark.parametrize("fault", ["kill mon logs", "freeze mon logs", "cut mon", "off mon"])
def test_no_line_is_lost_whatever_happens_to_the_monitoring_host(watched: RunningTestbed, fault: str) -> None:
    mark, lines = next(marks), 8 * RATE
    with (
        writing(watched, "srv1", mark, lines),
        writing(watched, "srv2", mark, lines),
        writing(watched, "srv3", mark, lines),
    ):
        wait.until(lambda: None if numbers(watched, "srv3", mark) else "none yet", what="the first lines", seconds=20)
        with watched.broken(fault, seconds=120):  # most of the lines are written meanwhile
            wait.until(lambda: written(watched, mark, lines - RATE // 2), what="lines written", seconds=20)
    assert {host: lost(watched, host, mark, lines) for host in WRITERS} == dict.fromkeys(WRITERS, 0)


def written(bed: RunningTestbed, mark: str, lines: int) -> str | None:
    """None when so many lines have been written on the first of the hosts."""
    seen = bed.run(WRITERS[0], "grep", "-c", mark, SHIPPED).strip()
    return None if int(seen) >= lines else f"{seen} lines"


def test_a_shipper_that_is_killed_loses_no_line(watched: RunningTestbed) -> None:
    mark, lines = next(marks), 6 * RATE
    with writing(watched, "srv1", mark, lines):
        wait.until(lambda: None if numbers(watched, "srv1", mark) else "none yet", what="the first lines", seconds=20)
        with watched.broken("kill srv1 shipper", seconds=120):
            pass
    assert lost(watched, "srv1", mark, lines) == 0


OTHER = "/tmp/other"
KILL = ("pkill", "-9", "-f", f"{OTHER}/other.json")


@pytest.fixture
def other_shipper(watched: RunningTestbed) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a second shipper on srv1, of its own log, and ends it afterwards. ``noted``: when it notes a place."""
    watched.run("srv1", "mkdir", "-p", OTHER)
    given = json.loads(watched.run("srv1", "cat", CONFIG))
    processes: list[subprocess.Popen[str]] = []

    def start(noted: str) -> subprocess.Popen[str]:
        config = {**given, "notes": f"{OTHER}/places.json", "noted": noted, "logs": [("other", f"{OTHER}/a.log")]}
        watched.exec("srv1", "tee", f"{OTHER}/other.json", input=json.dumps(config))
        command = ("env", f"PYTHONPATH={PROJECT}", sys.executable, "-S", "-m", "services.monitoring.logsender")
        words = watched.commands.argv("exec", "--name", watched.name, "srv1", "--", *command, f"{OTHER}/other.json")
        environment = watched.commands.environment
        processes.append(subprocess.Popen(words, env=environment, cwd=watched.commands.folder, text=True))
        return processes[-1]

    yield start
    watched.exec("srv1", *KILL)
    for process in processes:
        process.wait(10)


@pytest.mark.parametrize(("noted", "loses"), [(CONFIRMED, False), (READ, True)])
def test_one_that_notes_what_it_has_only_read_is_seen_to_lose(
    watched: RunningTestbed, other_shipper: Callable[[str], subprocess.Popen[str]], noted: str, loses: bool
) -> None:
    """The negative control: the same loss, twice; a shipper is killed while nobody takes its lines."""
    mark, lines, log = next(marks), 3 * RATE, f"{OTHER}/a.log"
    first = other_shipper(noted)
    with ExitStack() as dead:
        with writing(watched, "srv1", mark, lines, log):
            wait.until(
                lambda: None if numbers(watched, "srv1", mark) else "none yet", what="the first lines", seconds=20
            )
            dead.enter_context(watched.broken("kill mon logs", seconds=120))
        watched.run("srv1", *KILL)
        first.wait(10)
    other_shipper(noted)
    watched.run("srv1", "sh", "-c", f"echo '[{mark} {lines:06}]' >> {log}")
    missing = lost(watched, "srv1", mark, lines + 1, few=lines)
    assert missing > 50 if loses else missing == 0


@pytest.mark.parametrize("text", [b"x" * 65536, bytes(range(1, 10)) * 7000, b"raw \xff\xfe\x00\x1b[2J"], ids=len)
def test_any_line_is_collected(watched: RunningTestbed, text: bytes) -> None:
    mark = next(marks)
    code = f"open({SHIPPED!r}, 'ab').write(b'[{mark} ' + bytes.fromhex({text.hex()!r}).replace(b'\\n', b'') + b']\\n')"
    done = watched.exec("srv1", sys.executable, "-S", "-", input=code)
    assert done.returncode == 0, done.stderr
    expected = text.replace(b"\n", b"").decode(errors="backslashreplace")
    found: list[dict[str, Any]] = []

    def look() -> str | None:
        found[:] = search(watched, "srv1", "exporter", "--grep", mark)
        return None if found else "nothing yet"

    wait.until(look, what="the line", seconds=20)
    assert found[0]["text"] == f"[{mark} {expected}]"


def test_a_log_that_is_emptied_is_read_on_from_its_beginning(watched: RunningTestbed) -> None:
    mark = next(marks)
    for number in range(3):
        watched.run("srv1", "sh", "-c", f"echo '[{mark} {number:06}]' >> {SHIPPED}")
        wait.until(
            lambda number=number: None if number in numbers(watched, "srv1", mark) else "not there",
            what="the line",
            seconds=20,
        )
        watched.run("srv1", "truncate", "-s", "0", SHIPPED)
    assert numbers(watched, "srv1", mark) == [0, 1, 2]


def test_without_room_on_the_monitoring_host_the_logs_wait(watched: RunningTestbed) -> None:
    mark, lines = next(marks), 3 * RATE
    folder = CURRENT.rpartition("/")[0]
    watched.exec("mon", "sh", "-c", f"head -c 600M /dev/zero > {folder}/filler")
    try:
        with writing(watched, "srv1", mark, lines):
            pass
    finally:
        watched.run("mon", "rm", f"{folder}/filler")
    assert lost(watched, "srv1", mark, lines) == 0


def test_a_request_is_found_in_all_four_tiers(watched: RunningTestbed) -> None:
    answer = watched.run("client", "curl", "-si", "https://www.foobar.com/")
    request = re.findall(r"(?i)^x-request-id: (\S+)\r?$", answer, re.M)[0]
    rows: list[dict[str, Any]] = []

    def look() -> str | None:
        rows[:] = search(watched, "--request", request)
        missing = set(TIERS) - {row["service"] for row in rows}
        return f"not in the log of {missing}" if missing else None

    wait.until(look, what="the request", seconds=20)
    tiers = [row["service"] for row in rows]
    assert tiers == sorted(tiers, key=TIERS.index)
    began = [row["time"] - row["took_ms"] / 1000 for row in rows]
    # to the millisecond, which HAProxy and nginx count in
    assert all(later > earlier - 0.002 for earlier, later in pairwise(began))
    assert began[-1] - began[0] < 5
    shown = watched.commands("logs", "--name", watched.name, "--request", request)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) == len(rows)


REFUSALS = {
    "--since 3x": (64, "--since 3x: no time"),
    "nosuch --since 3s": (64, "nothing like that runs"),
    "srv1 nosuch --since 3s": (64, "nothing like that runs"),
    "box --since 3s": (64, "box: what runs on no host"),
    "--request a/b": (64, "no request id"),
    "--level loud": (64, "--level loud: say one of"),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_a_request_without_sense_is_one_line(watched: RunningTestbed, words: str) -> None:
    code, said = REFUSALS[words]
    done = watched.commands("logs", "--name", watched.name, *words.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert said in done.stderr


@pytest.mark.parametrize("fault", ["kill mon logs", "off mon"])
def test_a_monitoring_host_that_is_dead_is_one_line(watched: RunningTestbed, fault: str) -> None:
    with watched.broken(fault, seconds=120):
        done = watched.commands("logs", "--name", watched.name, "--since", "3s")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "mon/logs is " in done.stderr


def test_where_tls_is_mutual_a_shipper_must_show_a_certificate(commands: Commands) -> None:
    hardened = commands.up("c", "--tls", "mutual", "--monitoring", "on")
    mark = next(marks)
    with writing(hardened, "srv1", mark, RATE):
        pass
    assert lost(hardened, "srv1", mark, RATE) == 0
    told = ("sh", "-c", 'sleep 2 | openssl s_client -connect mon:2514 -verify_return_error "$@" 2>&1', "-")
    trusting = ("-CAfile", AUTHORITY, "-verify_hostname", "mon")
    own = ("-cert", PROOF, "-key", f"{PROOF}.key")
    assert "certificate required" not in (shown := hardened.exec("srv1", *told, *trusting, *own).stdout)
    assert "Verification: OK" in shown
    assert "certificate required" in hardened.exec("srv1", *told, *trusting).stdout
