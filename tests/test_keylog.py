"""The key log: who writes it, and that the preloaded library really does, and only when asked."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from experiments.instruments import keylog
from services.pki import Authority
from topo import folders
from topo.errors import MissingError
from topo.plan import SITE, Plan
from topo.profile import Profile

# a handshake of a TLS client and a TLS server in one process, with no network
HANDSHAKE = """
import ssl, sys
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(sys.argv[1])
client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client.load_verify_locations(sys.argv[2])
up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [client.wrap_bio(down, up, server_hostname="www.foobar.com"), server.wrap_bio(up, down, server_side=True)]
for _ in range(4):
    for end in ends:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            pass
"""


@pytest.mark.parametrize(
    ("tls", "writers"),
    [
        ("terminate", {"lb/balancer"}),
        ("reencrypt", {"lb/balancer"}),
        ("passthrough", {"srv1/web", "srv2/web", "srv3/web"}),
        ("mutual", {"lb/balancer", "srv1/app", "srv2/app", "srv3/app", "srv2/db", "srv3/db"}),
    ],
)
def test_one_end_of_every_encrypted_link_writes(plan: Plan, tls: str, writers: set[str]) -> None:
    monitoring = {f"{host.name}/{role}" for host in plan.watched for role in ("shipper", "agent")}
    writers |= monitoring if tls == "mutual" else set()
    assert set(keylog.loggers(plan, Profile(tls=tls))) == writers
    assert bool(keylog.sealed(plan, Profile(tls=tls))) is (tls == "mutual")
    managers = {"mon/failover"} if tls == "mutual" else set()
    assert set(keylog.loggers(plan, Profile(tls=tls, db="semisync"))) == writers | managers


def test_lines_that_both_ends_wrote_are_merged() -> None:
    assert keylog.merged([b"one\ntwo\n", b"two\nthree\n", b""]) == "one\ntwo\nthree\n"


def test_a_link_in_the_place_of_a_key_log_is_not_followed(tmp_path: Path) -> None:
    """Root of a host may put one there."""
    (tmp_path / "run/keylog").mkdir(parents=True)
    (tmp_path / "secret").write_text("the machine's")
    (tmp_path / "run/keylog/keys.log").symlink_to(tmp_path / "secret")
    place = SimpleNamespace(path=lambda path: tmp_path / path.lstrip("/"))
    assert keylog.written(cast(Any, place)) == b""
    (tmp_path / "run/keylog/keys.log").unlink()
    (tmp_path / "run/keylog/keys.log").write_text("own")
    assert keylog.written(cast(Any, place)) == b"own"


def test_every_user_of_a_host_loads_the_library_and_adds_to_the_log_that_root_alone_reads(tmp_path: Path) -> None:
    """Each daemon is a user of its own."""
    with folders.opened(tmp_path / "keylog", make=True, private=True) as folder:
        keylog.begin(folder, b"library")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "keylog", *(tmp_path / "keylog").iterdir()]}
    assert modes == {"keylog": 0o755, "keylog.so": 0o644, "keys.log": 0o622}
    assert (tmp_path / "keylog" / "keylog.so").read_bytes() == b"library"


def test_no_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingError, match=r"none of tcc, cc, gcc \(package tcc\)"):
        keylog.compile_library(tmp_path / "keylog.so")


@pytest.mark.skipif(not any(map(shutil.which, keylog.COMPILERS)), reason="no compiler")
@pytest.mark.parametrize("asked", [True, False])
def test_the_library_writes_when_asked(tmp_path: Path, asked: bool) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)
    (tmp_path / "site.pem").write_text(authority.issue(SITE).bundle)
    keylog.compile_library(tmp_path / "keylog.so")
    log = tmp_path / "keys.log"
    environment = {"LD_PRELOAD": str(tmp_path / "keylog.so"), **({"SSLKEYLOGFILE": str(log)} if asked else {})}
    argv = [sys.executable, "-c", HANDSHAKE, str(tmp_path / "site.pem"), str(tmp_path / "ca.pem")]
    done = subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    if not asked:
        assert not log.exists()
        return
    assert log.stat().st_mode & 0o777 == 0o600
    lines = [line.split() for line in keylog.merged([log.read_bytes()]).splitlines()]
    kinds = {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"}
    assert kinds < {words[0] for words in lines}, ssl.OPENSSL_VERSION
    assert len({words[1] for words in lines}) == 1
