"""The checks of ``tls_exposure``: exposures, doubts, numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.engine.verdict import CheckResult, ClaimCheck, Verdict, composed
from experiments.tls_exposure.dblogin import FORM as SCRAMBLE
from experiments.tls_exposure.evidence import ExposureEvidence

Row = Mapping[str, Any]
SHOWN = 3
NEWEST = "TLS 1.3"


@dataclass(frozen=True)
class ExposureReading:
    """``exposures``: where a secret is readable. ``doubts``: why its absence elsewhere is not proved, in words.

    ``scrambles``: log-ins whose proof is readable: no secret, but passwords can be tried against it at home.
    """

    secrets: tuple[str, ...]
    exposures: tuple[Row, ...]
    inside: tuple[Row, ...]
    scrambles: tuple[Row, ...]
    links: Mapping[str, Mapping[str, Any]]
    doubts: tuple[str, ...]
    absent: tuple[str, ...]
    control: str
    numbers: Mapping[str, Any]

    @property
    def shown_links(self) -> tuple[str, ...]:
        """The links on which something of a secret travels, readable or not."""
        rows = (*self.exposures, *self.inside, *self.scrambles)
        return tuple(sorted({str(row["link"]) for row in rows}))


def judge(evidence: ExposureEvidence) -> Verdict:
    """A readable secret fails the claim; a doubt whether one would have been seen leaves it unknown."""
    exposure = reading(evidence)
    return composed(CHECKS, exposure, exposure.numbers)


def _nothing_readable(exposure: ExposureReading) -> CheckResult:
    if exposure.exposures:
        return CheckResult(False, _worst(exposure))
    because = f"none of {len(exposure.secrets)} secrets is readable on {exposure.numbers['links']} links"
    return CheckResult(True, f"{because}; {exposure.control}")


def _all_would_have_been_seen(exposure: ExposureReading) -> CheckResult:
    if exposure.doubts:
        return CheckResult(None, f"nothing was found, but {exposure.doubts[0]}")
    return CheckResult(True, exposure.control)


CHECKS = (
    ClaimCheck("nothing readable", _nothing_readable),
    ClaimCheck("all would have been seen", _all_would_have_been_seen),
)


def _worst(exposure: ExposureReading) -> str:
    """The worst exposures in words: ``log-in password readable on lb-srv1:80 (raw, lb.pcap#31); ...``."""
    places = []
    for secret in exposure.secrets:
        rows = [row for row in exposure.exposures if row["secret"] == secret]
        if rows:
            links = _some(sorted({row["link"] for row in rows}))
            places.append(f"{secret} readable on {links} ({rows[0]['form']}, {rows[0]['file']}#{rows[0]['frames'][0]})")
    return _some(places, "; ")


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more


def reading(evidence: ExposureEvidence) -> ExposureReading:
    """All that follows from the evidence."""
    secrets = tuple(str(secret["name"]) for secret in evidence.secrets)
    exposures = _in_order(secrets, (row for row in evidence.exposures if row["form"] != SCRAMBLE))
    scrambles = _in_order(secrets, (row for row in evidence.exposures if row["form"] == SCRAMBLE))
    inside = _in_order(secrets, evidence.inside)
    links = _links(evidence)
    seen = {row["secret"] for row in (*exposures, *inside)}
    encrypted = [name for name, link in links.items() if link["tls"]]
    return ExposureReading(
        secrets=secrets,
        exposures=exposures,
        inside=inside,
        scrambles=scrambles,
        links=links,
        doubts=tuple(_doubts(evidence, links, seen)),
        absent=tuple(name for name in secrets if name not in seen),
        control=f"the key log shows {len({row['secret'] for row in inside})} inside the TLS of {len(encrypted)} links",
        numbers={
            "secrets": len(secrets),
            "links": len(links),
            "links_encrypted": len(encrypted),
            "links_exposed": len({row["link"] for row in exposures}),
            "links_blind": sum(link["control"] is not True for link in links.values()),
            "secrets_exposed": len({row["secret"] for row in exposures}),
            "exposures": len({(row["secret"], row["link"], row["from"]) for row in exposures}),
            "logins_readable": len({row["link"] for row in scrambles}),
            "visits": len(evidence.visits),
            "packets": sum(capture["frames"] for capture in evidence.captures),
        },
    )


def grid(exposure: ExposureReading, secret: str, link: str) -> int:
    """In how many packets a secret is readable on a link, in the capture that has most of them."""
    frames: dict[str, set[int]] = {}
    most = 0
    for row in exposure.exposures:
        if (row["secret"], row["link"]) == (secret, link):
            frames.setdefault(row["file"], set()).update(row["frames"])
            most = max(most, row["packets"])
    return max([most, *map(len, frames.values())])


def _in_order(secrets: Sequence[str], rows: Iterable[Row]) -> tuple[Row, ...]:
    """The worst secrets first, each from its first frame on."""
    return tuple(sorted(rows, key=lambda row: (secrets.index(row["secret"]), row["file"], row["frames"])))


def _links(evidence: ExposureEvidence) -> dict[str, dict[str, Any]]:
    """Each link with its TLS versions, and whether what would be readable on it would have been found.

    In the clear that takes a whole capture. In TLS the key log must have opened it too, in each capture: a secret came
    to light, or every single connection was opened and holds none. Where no end can write a key log, each connection
    must have been seen to begin as TLS 1.3.
    """
    blind = {capture["file"] for capture in evidence.captures if _blind(capture)}
    opened = {(row["link"], row["file"]) for row in evidence.inside}
    links: dict[str, dict[str, Any]] = {}
    for row in evidence.links:
        link = links.setdefault(row["link"], {"tls": {}, "control": True, "dark": 0, "sealed": False})
        link["dark"] = max(link["dark"], row["dark"])
        for version, count in row["tls"].items():
            link["tls"][version] = max(count, link["tls"].get(version, 0))
        sealed = row["link"] in evidence.sealed and set(row["tls"]) == {NEWEST}
        link["sealed"] |= sealed
        explained = not row["dark"] or sealed or (row["link"], row["file"]) in opened
        link["control"] &= row["file"] not in blind and explained
    return links


def _blind(capture: Row) -> str | None:
    """The reason why a capture proves no absence, if there is one."""
    if capture["dropped"] is None:
        return "did not see its canary"
    if capture["dropped"]:
        return f"lost {capture['dropped']} packets"
    if capture["unread"]:
        return "holds what cannot be looked into: " + ", ".join(sorted(capture["unread"]))
    return None


def _doubts(evidence: ExposureEvidence, links: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    captured = {capture["link"] for capture in evidence.captures}
    yield from (f"{host}'s link was not captured" for host in evidence.hosts.values() if host not in captured)
    for capture in evidence.captures:
        if why := _blind(capture):
            yield f"{capture['file']} {why}"
    if not evidence.visits or not all(visit["has_message"] and visit["has_name"] for visit in evidence.visits):
        yield "the visit did not show what was posted"
    for secret in evidence.secrets:
        if not secret["values"]:
            yield f"there was no {secret['name']} to look for"
        elif secret["travels"] and secret["name"] not in seen:
            yield f"the {secret['name']} was seen nowhere, not even inside TLS"
    for name, link in links.items():
        if not link["control"]:
            why = "has TLS that the key log did not open" if link["dark"] else "was not seen whole"
            yield f"{name} {why}"
