"""The secrets of TLS connections, written down when an experiment asks, so that a capture of them can be decrypted.

nginx and MariaDB have no key log, HAProxy 2.6 has none for TLS 1.3 to its servers, and PyMySQL none at all. So one way
for all of them: for a while they run with a small library preloaded (keylog.c) that gives OpenSSL a callback. Never by
default, and never on a disk: each host's log lies below its own /run, and goes with the block. What is written
in Go has TLS of its own: such links stay sealed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from services.monitoring.logshipper import LogShipper
from services.monitoring.vmagent import Vmagent
from services.service import Look, below
from topo import wait
from topo.errors import FoobarError, MissingError, UsageError
from topo.folders import Folder
from topo.plan import APP, BALANCER, DATABASE, METRICS, MONITOR, WEB, Host, Plan
from topo.tls import means

if TYPE_CHECKING:
    from testbed.testbed import Testbed
    from topo.profile import Profile

SOURCE = Path(__file__).parent / "keylog.c"
FOLDER = "/run/keylog"
LIBRARY, SECRETS = f"{FOLDER}/keylog.so", f"{FOLDER}/keys.log"
ENVIRONMENT = {"LD_PRELOAD": LIBRARY, "SSLKEYLOGFILE": SECRETS}
COMPILERS = ("tcc", "cc", "gcc")
STEADY_SECONDS = 30.0
FILE = "keys.log"


@contextmanager
def keys_logged(testbed: Testbed, folder: Folder) -> Iterator[Path]:
    """While the block runs, every TLS connection that begins has its secrets written down.

    The daemons concerned are restarted before and after, and the testbed is steady when the block begins and when it
    has ended. Yields the file ``folder/keys.log`` in NSS key log format (what tshark reads), which
    is there when the block has ended. Raises MissingError where there is no compiler.
    """
    units = [testbed.supervisor.unit(service) for service in loggers(testbed.plan, testbed.profile)]
    places = {unit.service.host: unit.place for unit in units}.values()
    try:
        with TemporaryDirectory(dir=testbed.home) as made:
            library = compile_library(Path(made) / "keylog.so")
        for place in places:
            begin(below(place, LIBRARY, make=True)[0], library)
        for unit in units:
            unit.extra = ENVIRONMENT
        _restart(testbed)
        yield folder.path / FILE
        folder.write(FILE, merged(written(place) for place in places))
    finally:
        asked = [unit for unit in units if unit.extra]
        for unit in asked:
            unit.extra = {}
        if asked:
            _restart(testbed)
        for place in places:
            _forget(place)


def loggers(plan: Plan, profile: Profile) -> tuple[str, ...]:
    """The services that write: one end of every TLS link; of databases' the connecting one: the primary stays up."""
    tls = means(profile)
    web = _ids(plan.hosts_of(WEB if tls.passthrough else BALANCER), WEB if tls.passthrough else BALANCER)
    if not tls.mutual:
        return web
    manager = _ids(plan.hosts_of(MONITOR), "failover") if profile.managed else ()
    # Vmagent writes none, but begins its connection anew, so that its TLS is seen from the beginning
    clients = [*_ids(plan.watched, LogShipper.role), *_ids(plan.watched, Vmagent.role)]
    return (*_ids(plan.names["replicas"], DATABASE), *_ids(plan.hosts_of(APP), APP), *manager, *clients, *web)


def _ids(hosts: Iterable[Host], role: str) -> tuple[str, ...]:
    return tuple(f"{host.name}/{role}" for host in hosts)


def sealed(plan: Plan, profile: Profile) -> tuple[str, ...]:
    """The encrypted links of which neither end can write a key log, as ``client-server:port``."""
    tool = plan.host_of(MONITOR)
    clients = [host for host in plan.watched if host != tool] if means(profile).mutual else []
    return tuple(f"{host.name}-{tool.name}:{plan.port(METRICS)}" for host in clients)


def compile_library(target: Path) -> bytes:
    """keylog.c as a shared object. Raises MissingError without a compiler, FoobarError with its words when it fails."""
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if compiler is None:
        raise MissingError(f"no compiler for the key log: none of {', '.join(COMPILERS)} (package tcc)")
    command = [compiler, "-shared", "-fPIC", "-nostdlib", "-o", str(target), str(SOURCE)]
    done = wait.for_command(command)
    if done.returncode:
        raise FoobarError(f"{compiler} could not make the key log's library", detail=done.stderr.strip())
    return target.read_bytes()


def written(place: Look) -> bytes:
    """A host's key log; nothing where none was written, or where something else is in its place."""
    with suppress(UsageError):
        folder, name = below(place, SECRETS)
        return folder.read(name)
    return b""


def begin(folder: Folder, library: bytes) -> None:
    """Every daemon of the host, whatever its user, can load the library and add to the log; root alone reads that."""
    for name, content, mode in ((Path(LIBRARY).name, library, 0o644), (Path(SECRETS).name, b"", 0o622)):
        with folder.create(name) as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
    os.fchmod(folder.descriptor, 0o755)


def _forget(place: Look) -> None:
    with suppress(UsageError):
        for file in (LIBRARY, SECRETS):
            folder, name = below(place, file)
            folder.remove(name)


def merged(logs: Iterable[bytes]) -> str:
    """Every different line of some key logs: both ends of a connection may have written it."""
    lines = (line for log in logs for line in log.decode(errors="replace").splitlines())
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


def _restart(testbed: Testbed) -> None:
    """The databases one after the other, so that there are always others; the rest side by side."""
    ids = loggers(testbed.plan, testbed.profile)
    databases = [service for service in ids if service.endswith(f"/{DATABASE}")]
    for service in databases:
        _relaunch(testbed, service)
    with ThreadPoolExecutor(max_workers=16) as pool:
        for done in [pool.submit(_relaunch, testbed, service) for service in ids if service not in databases]:
            done.result()
    wait.until(lambda: testbed.look(own=True).problems, what="steady state", seconds=STEADY_SECONDS)


def _relaunch(testbed: Testbed, service_id: str) -> None:
    if testbed.supervisor.unit(service_id).state in ("ready", "started"):
        testbed.supervisor.stop(service_id)
    testbed.supervisor.launch(service_id)
