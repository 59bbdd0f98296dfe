"""The site's settings: one JSON file, read once when the server boots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.site.exceptions import ConfigError

LEAST_SECRET = 16


@dataclass(frozen=True)
class DatabaseAccount:
    """A place where MariaDB answers, and an account there: a `unix_socket`, or a `host` with a `port`.

    Without `ca` the connection is plain text, never "TLS if the server happens to offer it", so that
    what an experiment sees on the wire is what the profile says. With `ca` (a PEM file) it is TLS: the
    server's certificate must be signed by that authority and name `host`. `proof` (a PEM file,
    with its key in another whose name has .key added) is what the server is shown in turn.
    """

    user: str
    password: str = field(repr=False)
    unix_socket: str | None = None
    host: str | None = None
    port: int = 3306
    ca: str | None = None
    proof: str | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.unix_socket or f'{self.host}:{self.port}'}"


@dataclass(frozen=True)
class Hops:
    """The number of proxies before the site that append to (or set) each X-Forwarded-* header.

    HAProxy writes the client's address and nginx appends HAProxy's, so the client is the second
    X-Forwarded-For value from the right; whatever a client invents stands further left and is ignored.
    X-Forwarded-Proto is set by HAProxy and passed on by nginx, X-Forwarded-Host is set by nginx: one
    value each. Both must be *set*, not appended, or clients could supply them.
    """

    for_: int = 2
    proto: int = 1
    host: int = 1


@dataclass(frozen=True)
class Config:
    """The settings of the site; every field of the JSON file has the same name here.

    `gtid_wait_s` is how long a read waits for the local replica to have what the session has seen; 0
    never waits (for Galera, where `wsrep_sync_wait` does that work). `password_method` is for tests. While
    there is a file `broken`, everything is answered with 500: a broken release, for experiments; nobody can
    make it over the network. With `limits` wrong guesses at an account are counted, and passwords queue to be checked.
    With `statements_logged` the databases write each of its statements down, in their slow log.
    """

    server: str
    secret_key: str = field(repr=False)
    read: DatabaseAccount
    write: DatabaseAccount
    database: str = "foobar"
    hops: Hops = Hops()
    gtid_wait_s: float = 2.0
    password_method: str | None = None
    broken: str | None = None
    limits: bool = False
    statements_logged: bool = False


def load(path: Path) -> Config:
    """The settings in `path`; raises `ConfigError` naming the file and what is wrong with it."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(raw: Mapping[str, Any]) -> Config:
    """The settings of one JSON object; raises `ConfigError`."""
    fields = dict(raw)
    try:
        fields["read"] = _endpoint("read", fields.get("read"))
        fields["write"] = _endpoint("write", fields.get("write"))
        hops = dict(fields.pop("hops", {}))
        if "for" in hops:
            hops["for_"] = hops.pop("for")
        config = Config(**fields, hops=Hops(**hops))
    except TypeError as error:
        raise ConfigError(str(error).replace("Config.__init__() ", "")) from error
    if len(config.secret_key) < LEAST_SECRET:
        raise ConfigError(f"secret_key must have at least {LEAST_SECRET} characters")
    return config


def _endpoint(role: str, raw: object) -> DatabaseAccount:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{role} must be an object with user, password and unix_socket or host")
    endpoint = DatabaseAccount(**raw)
    if (endpoint.unix_socket is None) == (endpoint.host is None):
        raise ConfigError(f"{role} needs either unix_socket or host")
    return endpoint
