"""Odd packets, sent for real: those that no honest host sends, to find what the firewalls let through all the same.

One capture at every host, for all of them; each is known again by random bytes of its own. Honest packets of the same
pairs come last: where they are not seen, it says nothing that the odd ones are not seen either.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from controllers.policy import Rule
from experiments.firewall_matrix.oddity import MUST, NEVER, Aim, Oddity, Piece
from experiments.firewall_matrix.sightings import Sightings
from experiments.firewall_matrix.talk import conversing
from experiments.firewall_matrix.targets import Range, sampled, talks
from experiments.instruments.capture import Capture, capturing
from topo import wait
from topo.errors import DeadlineError

if TYPE_CHECKING:
    from experiments.engine.run import Run
    from testbed.namespaces import Inside
    from testbed.testbed import Testbed

Row = Mapping[str, Any]
SECONDS = 5.0


@dataclass
class Try:
    """An oddity on its way to one aim. ``refused``: what the sender's own interface said to it."""

    oddity: Oddity
    aim: Aim
    pieces: Sequence[Piece]
    refused: str | None = None
    sent: list[Piece] = field(default_factory=list)


def send(testbed: Testbed, run: Run, rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    """All odd packets, then the honest ones. ``rules``: the policy that decides what may arrive.

    A row for each try: {"odd", "src", "dst", "port", "may", "allowed", "why", "sent" (frames), "refused" (by the
    sender's interface, or None), "arrived": {host: frames}, "blind": [hosts whose capture is]}.
    """
    from experiments.firewall_matrix.malformedkinds import ODDITIES
    from experiments.firewall_matrix.malformedkinds.wellformed import HONEST

    hosts = [(testbed.inside(host.name), host.interface) for host in testbed.plan.hosts]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=run.folder)))
        known = [
            stack.enter_context(conversing(testbed.inside(client.name), client, server, port))
            for client, server, port in talks(testbed.plan, rules, run.random)
        ]
        ends = [pair for talk in known for pair in ((talk.client, talk.server), (talk.server, talk.client))]
        pairs = dict.fromkeys([*sampled(testbed.plan, rules, run.random), *ends])
        where = Range(testbed.plan, rules, run.random, tuple(pairs), known)
        tries = [Try(each, aim, each.craft(aim)) for each in (*ODDITIES, *HONEST) for aim in where.aims(each)]
        with run.phase(f"{len(tries)} odd packets", total=len(tries)) as progress, capturing(hosts, folder) as captures:
            links = {inside.name: stack.enter_context(_link(inside, interface)) for inside, interface in hosts}
            for each in tries:
                _put_out(links[each.aim.src.name], each)
                progress.advance(1)
            _wait_for_honest(tries, captures)
        seen = {each.inside.name: _sightings(testbed, each) for each in captures}
    blind = [each.inside.name for each in captures if each.dropped != 0]
    return [_row(each, seen, blind) for each in tries]


def _link(inside: Inside, interface: str) -> socket.socket:
    """A host's link, to send on. One for all packets: it takes the kernel 10 ms to close such a socket."""
    link = inside.open_socket(socket.SOCK_RAW, socket.AF_PACKET)
    link.bind((interface, 0))
    return link


def _put_out(link: socket.socket, attempt: Try) -> None:
    """Its frames on the sender's link, as they are: the kernel adds nothing."""
    for piece in attempt.pieces:
        try:
            link.send(piece.frame)
            attempt.sent.append(piece)
        except OSError as error:
            attempt.refused = error.strerror


def _wait_for_honest(tries: Iterable[Try], captures: Sequence[Capture]) -> None:
    """Until the last ones are there, and so whatever came before them; or until it is clear that some never come."""
    files = {each.inside.name: each.file for each in captures}
    honest = [each for each in tries if each.oddity.may == MUST and each.aim.allowed]
    due = [(files[each.aim.dst.name], piece.sign) for each in honest for piece in each.sent]

    def look() -> str | None:
        there = {file: file.read_bytes() for file in files.values()}
        absent = [sign for file, sign in due if sign and sign not in there[file]]
        return f"{len(absent)} honest packets are missing" if absent else None

    try:
        wait.until(look, what="odd packets", seconds=SECONDS)
    except DeadlineError:
        return  # the rows say so


def _sightings(testbed: Testbed, capture: Capture) -> Sightings:
    return Sightings(capture.file.read_bytes(), testbed.plan.host(capture.inside.name).mac)


def _row(attempt: Try, seen: Mapping[str, Sightings], blind: Sequence[str]) -> dict[str, Any]:
    oddity, aim = attempt.oddity, attempt.aim
    return {
        "odd": oddity.name,
        "src": aim.src.name,
        "dst": aim.dst.name,
        "port": aim.port,
        "may": oddity.may,
        "allowed": aim.allowed,
        "why": oddity.why,
        "sent": len(attempt.sent),
        "refused": attempt.refused,
        "arrived": _arrived(attempt, seen),
        "blind": list(blind),
    }


def _arrived(attempt: Try, seen: Mapping[str, Sightings]) -> dict[str, int]:
    """Host -> frames that were seen there."""
    found: Counter[str] = Counter()
    for frame, sign in {(piece.frame, piece.sign) for piece in attempt.sent if piece.sign}:
        copies = sum(piece.frame == frame for piece in attempt.sent)
        for name, sightings in seen.items():
            own = name == attempt.aim.src.name
            found[name] += sightings.came_back(frame, sign, copies) if own else sightings.arrived(frame, sign)
    return {name: number for name, number in sorted(found.items()) if number}


# --- judged, from the rows alone ----------------------------------------------------------------------------------


def findings(odd: Sequence[Row]) -> list[dict[str, Any]]:
    """What contradicts the policy: {"odd", "src", "dst", "port", "arrived", "says"}."""
    return [_finding(row, says) for row in odd if (says := _contradiction(row)) is not None]


def doubts(odd: Sequence[Row]) -> list[str]:
    """Why it proves nothing that something was not seen, in words; none when all honest packets were."""
    if not odd:
        return ["no odd packet was sent"]
    missing = [f"{row['src']} -> {row['dst']}: {row['odd']} did not arrive" for row in odd if _missing(row)]
    blind = sorted({host for row in odd for host in row["blind"]})
    unheard = sorted(f"{src} -> {dst}: nothing honest was sent" for src, dst in _pairs(odd) - _pairs(_honest(odd)))
    return [*(f"the capture at {host} lost packets" for host in blind), *missing, *unheard]


def summary(odd: Sequence[Row]) -> list[dict[str, Any]]:
    """A row for each kind: {"odd", "may", "why", "tried", "refused", "open", "open_arrived", "closed", ...}."""
    kinds: dict[str, list[Row]] = {}
    for row in odd:
        kinds.setdefault(row["odd"], []).append(row)
    return [_summed(name, rows) for name, rows in kinds.items()]


def _summed(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    may = {True: [row for row in rows if _may(row)], False: [row for row in rows if not _may(row)]}
    return {
        "odd": name,
        "may": rows[0]["may"],
        "why": rows[0]["why"],
        "tried": len(rows),
        "refused": sorted({row["refused"] for row in rows if row["refused"]}),
        "open": len(may[True]),
        "open_arrived": sum(bool(row["arrived"]) for row in may[True]),
        "closed": len(may[False]),
        "closed_arrived": sum(bool(row["arrived"]) for row in may[False]),
    }


def _may(row: Row) -> bool:
    return bool(row["may"] != NEVER and row["allowed"])


def _contradiction(row: Row) -> str | None:
    strangers = [host for host in row["arrived"] if host != row["dst"]]
    if strangers:
        return f"it was seen at {', '.join(strangers)}, whom it was not for"
    if not row["arrived"] or _may(row):
        return None
    return "it may never arrive" if row["may"] == NEVER else "the policy does not allow that conversation"


def _finding(row: Row, says: str) -> dict[str, Any]:
    return {**{key: row[key] for key in ("odd", "src", "dst", "port", "arrived")}, "says": f"{says}: {row['why']}"}


def _honest(odd: Iterable[Row]) -> list[Row]:
    return [row for row in odd if row["may"] == MUST]


def _missing(row: Row) -> bool:
    return bool(row["may"] == MUST and row["allowed"] and not row["arrived"].get(row["dst"]))


def _pairs(odd: Iterable[Row]) -> set[tuple[str, str]]:
    return {(row["src"], row["dst"]) for row in odd}
