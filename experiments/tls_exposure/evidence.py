"""The evidence of ``tls_exposure``: the secrets, what each capture is worth, and where the search found something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from experiments.engine.evidence import Evidence, unchanged


class SecretRow(TypedDict):
    """A secret and its texts. ``travels``: something of it must cross a link."""

    name: str
    where: str
    travels: bool
    values: Sequence[str]


class VisitRow(TypedDict):
    """The last page of one visit."""

    title: str
    has_message: bool
    has_name: bool
    requests: int


class SearchedCapture(TypedDict):
    """One capture. ``dropped`` None: it did not see its canary; ``unread``: what could not be looked into."""

    link: str
    file: str
    frames: int
    dropped: int | None
    unread: Mapping[str, int]


class LinkRow(TypedDict):
    """A link in one capture. ``tls``: connections by version; ``dark``: how many of them the key log did not open."""

    link: str
    file: str
    bytes: int
    connections: int
    tls: Mapping[str, int]
    dark: int


#: a secret found in a capture: on which link, in which direction, in which form, in which frames
SecretFound = TypedDict(
    "SecretFound",
    {
        "secret": str,
        "link": str,
        "from": str,
        "to": str,
        "form": str,
        "packets": int,
        "bytes": int,
        "file": str,
        "frames": Sequence[int],
    },
)


@dataclass(frozen=True, kw_only=True)
class ExposureEvidence(Evidence):
    """``hosts``: names by address; ``exposures``: readable by anyone on the link; ``inside``: by the key log's help.

    ``sealed``: links whose ends write no key log: their TLS, of the newest version, is taken for what it says it is.
    """

    upgrades = {0: unchanged}  # noqa: RUF012 - a class variable, as in Evidence

    visits: Sequence[VisitRow]
    hosts: Mapping[str, str]
    secrets: Sequence[SecretRow]
    captures: Sequence[SearchedCapture]
    links: Sequence[LinkRow]
    exposures: Sequence[SecretFound]
    inside: Sequence[SecretFound]
    sealed: Sequence[str] = ()
