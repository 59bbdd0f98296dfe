"""``tls_exposure``: a real visit with a canary in every place where a site has secrets, and a search of every packet.

A claim of absence is worth what its search is worth. So each capture must have lost nothing, each secret must have
been seen somewhere, and on each encrypted link the same search must find the secrets once the key log has opened it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.engine.base import Evidence, Experiment
from experiments.engine.verdict import Verdict
from experiments.instruments import observe, visitor
from experiments.instruments.capture import Capture, capturing
from experiments.instruments.keylog import keys_logged
from experiments.instruments.pcap import first_frame
from experiments.tls_exposure import canaries, decrypt
from experiments.tls_exposure.canaries import PLACES, Typed
from experiments.tls_exposure.checks import Reading, grid, reading
from services.mariadb import mariadb
from services.mariadb.mariadb import MariaDB
from testbed import databases
from topo import wait

if TYPE_CHECKING:
    from rich.console import RenderableType

    from experiments.engine.plots import Plot
    from experiments.engine.run import Run
    from testbed.testbed import Testbed

SHOWN = 3


class Keys(NamedTuple):
    """The key log, and the moment from which on every connection that began is in it (seconds since 1970)."""

    file: Path
    since: float


class TlsExposure(Experiment[Evidence]):
    """Capture everything, make visits, search everything."""

    name = "tls_exposure"
    claim = "no secret is readable on any link"
    repeats = True

    def measure(self, testbed: Testbed, run: Run) -> Evidence:
        decrypt.check()
        servers = len(testbed.plan.servers)
        # as many messages as servers: by turns, each of them has written
        visits = [canaries.typed(run.random, servers) for _ in range(run.repeat or 1)]
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
        run.keep("visits", seen)
        values = _values(testbed, run.folder, visits, seen)
        hosts = {host.ip: host.name for host in testbed.plan.hosts}
        with run.phase("search", len(captures)) as progress:
            found = _searched(captures, hosts, values, Keys(keys, since), progress.advance)
        return {
            "visits": [{**each["shown"], "requests": len(each["requests"])} for each in seen],
            "hosts": hosts,
            "secrets": [
                {"name": place.name, "where": place.where, "travels": place.travels, "values": values[place.name]}
                for place in PLACES
            ],
            **found,
        }

    def judge(self, evidence: Evidence) -> Verdict:
        found = reading(evidence)
        if found.exposures:
            return Verdict(False, _worst(found), found.numbers)
        if found.doubts:
            return Verdict(None, f"nothing was found, but {found.doubts[0]}", found.numbers)
        because = f"none of {len(PLACES)} secrets is readable on {found.numbers['links']} links"
        return Verdict(True, f"{because}; {found.control}", found.numbers)

    def show(self, evidence: Evidence, verdict: Verdict) -> RenderableType:  # noqa: ARG002 - shown below it anyway
        from experiments.tls_exposure.show import matrix

        return matrix(reading(evidence))

    def page(self, evidence: Evidence) -> str:
        from experiments.tls_exposure.show import page

        return page(reading(evidence))

    def plots(self, evidence: Evidence) -> Sequence[Plot]:
        from experiments.engine.plots import Plot, Series

        found = reading(evidence)
        links = found.shown_links
        series = [Series(secret, links, [grid(found, secret, link) for link in links]) for secret in found.secrets]
        readable = [each for each in series if any(each.y)]
        return (Plot("Packets in which a secret is readable", "link", "packets", readable, kind="bars"),)


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
        for each in visits:
            seen.append(visitor.visits(testbed, each.name, each.password, each.messages, asks=each.query))
            canaries.write_row(testbed, each.row)
            progress.advance(1)
        visitor.wait_for_replicas(testbed)
    return seen


def _values(
    testbed: Testbed, folder: Path, visits: Sequence[Typed], seen: Sequence[dict[str, Any]]
) -> dict[str, list[str]]:
    """Every secret's own texts, by the name of its place."""
    logs = observe.request_logs(testbed, folder)
    lines = {name: (folder / name).read_text().splitlines() for name in {row["file"] for row in logs}}
    database = testbed.supervisor.unit(f"{testbed.plan.primary.name}/{MariaDB.role}").service
    assert isinstance(database, MariaDB)
    return {
        canaries.PASSWORD.name: [each.password for each in visits],
        canaries.COOKIE.name: [cookie for each in seen for cookie in each["cookies"]],
        canaries.DATABASE.name: [database.secrets.write_password, database.secrets.replication_password],
        canaries.HASH.name: canaries.password_hashes(testbed, [each.name for each in visits]),
        canaries.NAME.name: [each.name for each in visits],
        canaries.MESSAGE.name: [message for each in visits for message in each.messages],
        canaries.ROW.name: [each.row for each in visits],
        canaries.QUERY.name: [each.query for each in visits],
        canaries.LOG.name: canaries.log_lines(logs, lines, visits),
    }


def _searched(
    captures: Sequence[Capture], hosts: dict[str, str], values: dict[str, list[str]], keys: Keys, done: Any
) -> dict[str, list[Any]]:
    """The evidence of every capture, one after the other: each is as much as a processor can do."""
    from experiments.instruments.search import Search

    pairs = [(name, value) for name, texts in values.items() for value in texts]
    search = Search(pairs)
    passwords = [(name, value) for name, value in pairs if name == canaries.DATABASE.name]
    found: dict[str, list[Any]] = {"captures": [], "links": [], "exposures": [], "inside": []}
    with ThreadPoolExecutor(max_workers=2) as pool:
        for part in pool.map(lambda capture: _capture(capture, hosts, search, passwords, keys), captures):
            for name, exposurerows in part.items():
                found[name] += exposurerows
            done(1)
    return found


def _capture(
    capture: Capture, hosts: dict[str, str], search: Any, passwords: Iterable[tuple[str, str]], keys: Keys
) -> dict[str, list[Any]]:
    """One capture's evidence: what could be read in it, and what was inside its TLS."""
    from experiments.tls_exposure import exposurerows
    from experiments.wire import dblogin

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


def _worst(found: Reading) -> str:
    """The worst exposures in words: ``log-in password readable on lb-srv1:80 (raw, lb.pcap#31); ...``."""
    told = []
    for secret in found.secrets:
        rows = [row for row in found.exposures if row["secret"] == secret]
        if rows:
            links = _some(sorted({row["link"] for row in rows}))
            told.append(f"{secret} readable on {links} ({rows[0]['form']}, {rows[0]['file']}#{rows[0]['frames'][0]})")
    return _some(told, "; ")


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more
