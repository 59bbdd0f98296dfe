"""The measurement of ``tls_exposure``: capture everything, make visits, search everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.instruments import observe
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.keylog import keys_logged, sealed
from experiments.instruments.search import Search
from experiments.tls_exposure import canaries, dblogin, decrypt, exposurerows
from experiments.tls_exposure.canaries import PLACES, Typed
from experiments.tls_exposure.evidence import ExposureEvidence
from experiments.wire.pcap import first_frame
from services.mariadb import mariadb
from services.mariadb.mariadb import MariaDB
from testbed import databases
from topo import wait
from topo.folders import Folder
from topo.plan import APP

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.testbed import Testbed


class Keys(NamedTuple):
    """The key log, and the time from which on every connection that began is in it (seconds since 1970)."""

    file: Path
    since: float


def measure(testbed: Testbed, run: Run) -> ExposureEvidence:
    """As many messages a visit as there are servers: by turns, each of them has written."""
    decrypt.check()
    visits = [canaries.typed(run.random, len(testbed.plan.hosts_of(APP))) for _ in range(run.repeat or 1)]
    places = [(testbed.inside(host.name), host.interface) for host in testbed.plan.hosts]
    with ExitStack() as stack:
        recording = stack.enter_context(ExitStack())
        captures = recording.enter_context(capturing(places, run.folder))
        # within the captures, beginning and end: what is to be decrypted must have been seen to begin
        keys = stack.enter_context(keys_logged(testbed, run.folder))
        since = time.time()
        _log_in_again(testbed)
        seen = _visits(testbed, run, visits)
        recording.close()
    shown: list[Any] = [{**visit["shown"], "requests": len(visit["requests"])} for visit in seen]
    run.keep("visits", shown)
    values = _values(testbed, run.folder, visits, seen)
    hosts = {host.ip: host.name for host in testbed.plan.hosts}
    with run.phase("search", len(captures)) as progress:
        rows = _searched(captures, hosts, values, Keys(keys, since), progress.advance)
    return ExposureEvidence(
        visits=shown,
        hosts=hosts,
        secrets=[
            {"name": place.name, "where": place.where, "travels": place.travels, "values": values[place.name]}
            for place in PLACES
        ],
        captures=rows["captures"],
        links=rows["links"],
        exposures=rows["exposures"],
        inside=rows["inside"],
        sealed=sealed(testbed.plan, testbed.profile),
    )


def _log_in_again(testbed: Testbed) -> None:
    """Replicas open their connections anew, one after the other, so that the captures have their log-ins too."""
    for replica in databases.replicas(testbed):
        inside = testbed.inside(replica)
        if not mariadb.replication(inside):
            continue
        for command in ("STOP SLAVE IO_THREAD", "START SLAVE IO_THREAD"):
            mariadb.query(inside, command)
        wait.until(lambda inside=inside: _receiving(inside), what=f"{replica} receiving", seconds=10)  # type: ignore[misc]


def _receiving(inside: Any) -> str | None:
    state = mariadb.replication(inside).get("Slave_IO_Running")
    return None if state == "Yes" else f"Slave_IO_Running {state}"


def _visits(testbed: Testbed, run: Run, visits: Sequence[Typed]) -> list[dict[str, Any]]:
    seen = []
    with run.phase("visit", len(visits)) as progress:
        for visit in visits:
            seen.append(observe.visits(testbed, visit.name, visit.password, visit.messages, asks=visit.query))
            canaries.write_row(testbed, visit.row)
            progress.advance(1)
        observe.wait_for_replicas(testbed)
    return seen


def _values(
    testbed: Testbed, folder: Folder, visits: Sequence[Typed], seen: Sequence[dict[str, Any]]
) -> dict[str, list[str]]:
    """Every secret's own texts, by the name of its place."""
    logs = observe.request_logs(testbed, folder)
    lines = {name: folder.read(name).decode(errors="replace").split("\n") for name in {row["file"] for row in logs}}
    database = testbed.supervisor.unit(f"{testbed.plan.primary.name}/{MariaDB.role}").service
    assert isinstance(database, MariaDB)
    return {
        canaries.PASSWORD.name: [visit.password for visit in visits],
        canaries.COOKIE.name: [cookie for row in seen for cookie in row["cookies"]],
        canaries.DATABASE.name: [database.secrets.write_password, database.secrets.replication_password],
        canaries.HASH.name: canaries.password_hashes(testbed, [visit.name for visit in visits]),
        canaries.NAME.name: [visit.name for visit in visits],
        canaries.MESSAGE.name: [message for visit in visits for message in visit.messages],
        canaries.ROW.name: [visit.row for visit in visits],
        canaries.QUERY.name: [visit.query for visit in visits],
        canaries.LOG.name: canaries.log_lines(logs, lines, visits),
    }


def _searched(
    captures: Sequence[Capture],
    hosts: dict[str, str],
    values: dict[str, list[str]],
    keys: Keys,
    done: Callable[[float], None],
) -> dict[str, list[Any]]:
    """The evidence of every capture, one after the other: each is as much as a processor can do."""
    pairs = [(name, value) for name, texts in values.items() for value in texts]
    search = Search(pairs)
    passwords = [(name, value) for name, value in pairs if name == canaries.DATABASE.name]
    found: dict[str, list[Any]] = {"captures": [], "links": [], "exposures": [], "inside": []}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for part in pool.map(lambda capture: _capture(capture, hosts, search, passwords, keys), captures):
            for name, rows in part.items():
                found[name] += rows
            done(1)
    return found


def _capture(
    capture: Capture, hosts: dict[str, str], search: Search, passwords: Iterable[tuple[str, str]], keys: Keys
) -> dict[str, list[Any]]:
    """One capture's evidence: what could be read in it, and what was inside its TLS."""
    file = capture.file
    content = file.read_bytes()
    seen = search.capture(content)
    inside = decrypt.decrypted(file, keys.file, seen.text)
    since = first_frame(content, keys.since)
    hits = [*seen.hits, *dblogin.scrambles(seen.text, passwords)]
    return {
        "captures": [
            {
                "link": capture.link,
                "file": file.name,
                "frames": seen.frames,
                "dropped": capture.dropped,
                "unread": dict(seen.unread),
            }
        ],
        "links": exposurerows.links(file.name, hosts, seen.text, decrypt.versions(file), inside, since),
        "exposures": exposurerows.rows(file.name, hosts, hits),
        "inside": exposurerows.rows(file.name, hosts, search.said(inside, seen.unread)),
    }
