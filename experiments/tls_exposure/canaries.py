"""Secrets to look for: one in every place where a real site has some, each a text that occurs nowhere else.

What a visitor types is random; what the site makes of it (its cookie, its SQL, its log lines) is taken from the site.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.mariadb import mariadb
from testbed import databases

if TYPE_CHECKING:
    from testbed.testbed import Testbed


@dataclass(frozen=True)
class Place:
    """A place where a site has secrets. ``travels``: something of it must cross a link, so that it can be seen."""

    name: str
    where: str
    travels: bool = True


# the worst first: the order in which a verdict names them
PASSWORD = Place("log-in password", "the visitor's, in the log-in form")
COOKIE = Place("session cookie", "what the site's Set-Cookie says, sent back with every request")
DATABASE = Place("database password", "of the application's and the replicas' accounts", travels=False)
HASH = Place("SQL literal", "the password's hash, in the INSERT that makes the account")
NAME = Place("personal data", "the visitor's name, in the site's answers")
MESSAGE = Place("message", "what the visitor posts")
ROW = Place("replicated row", "written by the administrator on the primary itself")
QUERY = Place("query string", "what the visitor asks for, in the address")
LOG = Place(
    "log line", "nginx's, with the query string in it; it goes to the monitoring host, if any does", travels=False
)
PLACES = (PASSWORD, COOKIE, DATABASE, HASH, NAME, MESSAGE, ROW, QUERY, LOG)

MAKE_ROW = "INSERT INTO foobar.users (name, password_hash) VALUES (%s, '!')"
READ_HASH = "SELECT password_hash FROM foobar.users WHERE name = %s"


@dataclass(frozen=True)
class Typed:
    """The texts that a visitor types, and one that an administrator writes; full of what encodings change."""

    name: str
    password: str
    messages: tuple[str, ...]
    query: str
    row: str


def typed(chance: random.Random, messages: int) -> Typed:
    """New canaries: each with 48 random bits or more."""

    def token() -> str:
        return f"{chance.getrandbits(48):012x}"

    return Typed(
        name=f"ada-{token()}",
        password=f"open {token()} & 100% {token()}",
        messages=tuple(f'meet <me> at "{token()}" & bring {token()}' for _ in range(messages)),
        query=f"who is {token()}?",
        row=f"ops-{token()}",
    )


def write_row(testbed: Testbed, row: str) -> None:
    """As the administrator does it: on the primary, through its own socket, so that only replication carries it."""
    mariadb.query(testbed.inside(databases.primary(testbed)), MAKE_ROW, row)


def password_hashes(testbed: Testbed, names: Iterable[str]) -> list[str]:
    """The site's hashes of the visitors' passwords."""
    primary = testbed.inside(databases.primary(testbed))
    return [str(row["password_hash"]) for name in names for row in mariadb.query(primary, READ_HASH, name)]


def log_lines(rows: Iterable[Mapping[str, Any]], lines: Mapping[str, list[str]], visits: Iterable[Typed]) -> list[str]:
    """nginx's own lines about the visitors' query strings; ``lines``: those of each file."""
    marks = [visit.query.split()[-1].rstrip("?") for visit in visits]
    return [
        lines[row["file"]][row["line"] - 1]
        for row in rows
        if row["service"] == "nginx" and any(mark in row["data"].get("request", "") for mark in marks)
    ]
