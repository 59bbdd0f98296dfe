"""audit on a running testbed: flaws that are planted there are found, and what is silent is unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from runningtestbed import RunningTestbed

from testbed.namespaces import BEYOND, CAPABILITIES
from topo.errors import EXIT_FAILS

pytestmark = pytest.mark.root
LISTEN = """
import socket, sys, threading
server = socket.create_server(("", 4444))
def serve():
    while True:
        server.accept()[0].sendall(b"hello\\n")
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""
KEY = "-----BEGIN " + "PRIVATE KEY-----"


def audit(bed: RunningTestbed, *flags: str) -> dict[str, Any]:
    done = bed.commands("audit", "--name", bed.name, "--json", *flags, seconds=200)
    assert done.returncode == EXIT_FAILS, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


@contextmanager
def planted(bed: RunningTestbed) -> Iterator[None]:
    """A listener and a file with a key on srv1, an account of its database; a silent monitoring tool."""
    words = ("exec", "--name", bed.name, "srv1", "--", "python3", "-c", LISTEN)
    with bed.commands.popen(*words, stdin=-1, stdout=-1) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        bed.run(
            "srv1", "sh", "-c", f"echo '{KEY}' >/tmp/planted; cp /tmp/planted /var/log/planted; chmod 644 /tmp/planted"
        )
        bed.sql("srv1", "SET sql_log_bin = 0; CREATE USER planted@'%'")
        assert bed.commands("fault", "freeze", "mon", "prometheus", "--name", bed.name).returncode == 0
        try:
            yield
        finally:
            bed.commands("heal", "--name", bed.name)
            bed.sql("srv1", "SET sql_log_bin = 0; DROP USER planted@'%'")
            bed.run("srv1", "rm", "/tmp/planted", "/var/log/planted")
            assert listener.stdin is not None
            listener.stdin.close()


def test_planted_flaws_are_found_and_nothing_of_them_is_left(second: RunningTestbed, tmp_path: Path) -> None:
    with planted(second):
        content = audit(second, "--junit", str(tmp_path / "audit.xml"))
    found = {(finding["id"], finding["where"]) for finding in content["findings"]}
    assert {
        ("socket-stray", "srv1:tcp/4444"),
        ("tls-plain", "srv1:tcp/4444"),
        ("secret-file-mode", "srv1:/tmp/planted"),
        ("secret-in-log", "srv1:/var/log/planted"),
        ("db-empty-password", "srv1: account planted@%"),
        ("db-any-host", "srv1: account planted@%"),
    } <= found
    # and the seed's own weaknesses
    # from 11.4 on MariaDB has a certificate of its own making, which nobody can check
    database = "certificate-self-signed" if second.sql("srv1", "SELECT @@have_ssl") == "YES" else "tls-plain"
    assert {("tls-plain", "srv1:tcp/80"), (database, "lb:tcp/3306"), ("login-unlimited", "srv1/app")} <= found
    assert ("tls", "mon:tcp/9090") in {(place["check"], place["where"]) for place in content["unknown"]}
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "audit.xml").iter("testcase")}
    assert cases["sockets"].find("failure") is not None
    second.becomes_steady()


def test_no_two_daemons_of_a_host_have_a_user_in_common_and_none_is_root(second: RunningTestbed) -> None:
    """As the kernel says; each runs in a session of its own. Keys and passwords are for their daemon alone."""
    for host in ("lb", "srv1", "mon", "dns"):
        users: dict[str, set[str]] = {}
        for line in second.run(host, "ps", "-eo", "uid=,sid=,args=").splitlines():
            uid, session, command = line.split(None, 2)
            # the host's shell, what was started from outside, and this
            if session not in ("0", "1") and not command.startswith("ps "):
                users.setdefault(uid, set()).add(session)
        assert "0" not in users, users
        assert {len(sessions) for sessions in users.values()} == {1}, users
    web = ("setpriv", "--reuid", "_web", "--regid", "_web", "--clear-groups", "cat")
    assert second.exec("srv1", *web, "/run/nginx/nginx.conf").returncode == 0
    assert "Permission denied" in second.exec("srv1", *web, "/run/app/site.json").stderr
    assert "Permission denied" in second.exec("srv1", *web, "/var/log/app/access.log").stderr


def test_no_daemon_but_the_exporter_has_a_capability_or_a_way_to_one(second: RunningTestbed) -> None:
    """A person's own command has those of root on a host."""
    for host in ("lb", "srv1", "mon", "dns"):
        shown = second.run(host, "sh", "-c", "grep -H -E '^(CapBnd|NoNewPrivs)' /proc/[0-9]*/status; echo $$")
        *lines, own = shown.splitlines()
        status = {tuple(line.split(":")[:2]): line.split()[-1] for line in lines}
        pids = {name.split("/")[2] for name, _ in status} - {"1", own}
        bounds = {
            status[f"/proc/{pid}/status", "CapBnd"]
            for pid in pids
            if status[f"/proc/{pid}/status", "NoNewPrivs"] == "1"
        }
        needed = 1 << BEYOND["sys_ptrace"] | (1 << CAPABILITIES["net_raw"] if host == "dns" else 0)
        assert bounds == {"0" * 16, f"{needed:016x}"}, (host, status)
        assert int(second.run(host, "sh", "-c", "grep CapBnd /proc/self/status").split()[1], 16) != 0
