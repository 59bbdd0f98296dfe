"""The environment that processes begin with: what a person has set for another purpose does not leak into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from topo import environment

HOSTILE = {
    "http_proxy": "http://192.0.2.1:1",
    "HTTPS_PROXY": "http://192.0.2.1:1",
    "ALL_PROXY": "socks5://192.0.2.1:1",
    "PATH": "/nonexistent",
    "LD_PRELOAD": "/nonexistent.so",
    "LD_LIBRARY_PATH": "/nonexistent",
    "OVS_RUNDIR": "/nonexistent",
    "OVS_DBDIR": "/nonexistent",
    "PYTHONPATH": "/nonexistent",
    "PYTHONWARNINGS": "ignore",
    "PYTHONOPTIMIZE": "2",
    "LC_ALL": "C",
    "LANG": "tr_TR",
    "LANGUAGE": "tr",
    "BASH_ENV": "/nonexistent",
    "ENV": "/nonexistent",
    "IFS": "x",
    "MYSQL_HOME": "/nonexistent",
    "TMPDIR": "/nonexistent",
    "SSLKEYLOGFILE": "/nonexistent",
    "OPENSSL_CONF": "/nonexistent",
    "CURL_HOME": "/nonexistent",
}
KEPT = {"TERM": "xterm", "HOME": "/home/anna", "SUDO_UID": "1000", "FOOBAR_STATE": "/tmp/state", "NO_COLOR": "1"}


def test_what_is_not_let_in_is_not_there() -> None:
    assert environment.clean(HOSTILE) == environment.ENVIRONMENT


def test_what_is_let_in_stays_as_it_is() -> None:
    assert environment.clean(HOSTILE | KEPT) == environment.ENVIRONMENT | KEPT


@pytest.mark.parametrize("program", ["topo.foobar", "experiments", "benchmarks"])
def test_a_command_and_all_that_it_starts_have_a_clean_environment(program: str) -> None:
    """Its first import cleans it, so that no later line of it can start something in another one."""
    harmless = dict.fromkeys(("LD_PRELOAD", "PYTHONPATH", "OPENSSL_CONF"), "")
    hostile = {**HOSTILE, **KEPT, **harmless, "PATH": os.environ["PATH"]}
    shown = "import sys, json, os, runpy; sys.argv = ['x', '--help']\n"
    shown += f"try: runpy.run_module('{program}', run_name='__main__')\n"
    shown += "except SystemExit: print('\\n' + json.dumps(dict(os.environ)))"
    done = subprocess.run([sys.executable, "-c", shown], env=hostile, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == environment.ENVIRONMENT | KEPT
