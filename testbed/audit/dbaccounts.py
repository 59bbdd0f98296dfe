"""Check ``database``: the accounts of every database server, by what it says of itself to its administrator."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.mariadb import grants, mariadb
from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding
from topo.plan import DATABASE

ACCOUNTS = "SELECT User AS user, Host AS host, Priv AS private FROM mysql.global_priv"
PASSWORD_PLUGINS = ("mysql_native_password", "ed25519", "caching_sha2_password", "")
#: with one of these an account becomes the administrator of the whole server
POWERFUL = {"SUPER", "FILE", "CREATE USER", "GRANT OPTION", "SHUTDOWN", "ALL PRIVILEGES"}
FILE = "services/templates/accounts.sql.j2"
REFERENCE = "CIS MariaDB 10.11 Benchmark"


@dataclass(frozen=True)
class DatabaseAccounts:
    """``accounts``: rows of user, host and ``private`` (MariaDB's JSON); ``rights``: what each may do, and to what.

    ``file``: the statements that make the accounts, from which the rights must follow.
    """

    host: str
    accounts: Sequence[Mapping[str, Any]]
    rights: Sequence[Mapping[str, Any]]
    schemas: Sequence[str]
    file: str


@dataclass(frozen=True)
class Login:
    """The way into an account: whether by a password, and of what hash; and whether it needs TLS."""

    user: str
    host: str
    password: str | None
    tls: bool
    locked: bool

    @property
    def name(self) -> str:
        return f"{self.user}@{self.host}"

    @property
    def local(self) -> bool:
        return self.host in ("localhost", "127.0.0.1", "::1")


def places(auditor: Auditor) -> Places[DatabaseAccounts]:
    """The database servers."""
    for host in auditor.plan.hosts_of(DATABASE):
        yield host.name, partial(_read, auditor, host.name)


def _read(auditor: Auditor, host: str) -> DatabaseAccounts:
    look = auditor.testbed.inside(host)
    service = auditor.testbed.supervisor.unit(f"{host}/{DATABASE}").service
    return DatabaseAccounts(
        host,
        mariadb.query(look, ACCOUNTS),
        mariadb.query(look, grants.QUESTION),
        [row["name"] for row in mariadb.query(look, "SELECT SCHEMA_NAME AS name FROM information_schema.SCHEMATA")],
        next(file.text for file in service.files() if file.path == mariadb.ACCOUNTS),
    )


def login(row: Mapping[str, Any]) -> Login:
    """An account's way in; ``password`` is None where another proof is asked for."""
    private = json.loads(row["private"])
    ways = [private, *(way for way in private.get("auth_or", ()) if way)]
    passwords = [way.get("authentication_string", "") for way in ways if way.get("plugin", "") in PASSWORD_PLUGINS]
    usable = [password for password in passwords if password != "invalid"]
    return Login(
        row["user"],
        row["host"],
        None if not usable else "" if "" in usable else usable[0],
        bool(private.get("ssl_type")),
        bool(private.get("account_locked")),
    )


def judge(facts: DatabaseAccounts) -> Iterator[Finding]:
    """Ways into accounts that are too easy, and rights that no file gives."""
    logins = [one for one in map(login, facts.accounts) if not one.locked and not _is_role(one)]
    standing = grants.standing(facts.rights)
    for one in logins:
        for kind, severity, evidence, remedy in _weak(one, standing):
            yield Finding(kind, severity, f"{facts.host}: account {one.name}", evidence, remedy, REFERENCE)
    yield from _shared(facts.host, logins)
    for name, of, privilege in sorted(standing - grants.written(facts.file)):
        evidence = f"it has {privilege} on {of}, which {FILE} does not give it"
        yield Finding("db-grant", HIGH, f"{facts.host}: account {name}", evidence, "revoke it", REFERENCE)
    if "test" in facts.schemas:
        yield Finding("db-test-schema", LOW, facts.host, "there is a database `test`", "drop it", REFERENCE)


def _is_role(one: Login) -> bool:
    return not one.host and one.password in (None, "")


def _weak(one: Login, standing: frozenset[grants.Grant]) -> Iterator[tuple[str, str, str, str]]:
    own = [(of, privilege) for name, of, privilege in standing if name == one.name and privilege != "USAGE"]
    if not one.user:
        yield "db-anonymous", HIGH, "anybody may log in without a name", "drop it"
    if one.password == "":
        severity, may = (HIGH, f"may use {len(own)} rights") if own else (MEDIUM, "is inside the server")
        yield "db-empty-password", severity, f"whoever comes from {one.host} logs in without a password and {may}", FILE
    if "%" in one.host:
        yield "db-any-host", MEDIUM, f"it may be used from {one.host}", f"{FILE}: name the host"
    if not one.local and not one.tls:
        yield "db-no-tls", MEDIUM, "it may log in over the network without TLS", "--tls mutual"
    powerful = sorted({privilege for of, privilege in own if privilege in POWERFUL and of == "*.*"})
    if powerful and not one.local:
        yield "db-powerful", LOW, f"it may {', '.join(powerful)} on everything, over the network", FILE


def _shared(host: str, logins: Sequence[Login]) -> Iterator[Finding]:
    """One password, as its hash shows, of several users; the same user from several hosts is one user."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for one in logins:
        if one.password:
            users[one.password].add(one.user)
    for sharing in users.values():
        if len(sharing) > 1:
            evidence = "one password is that of all of them"
            where = f"{host}: accounts {', '.join(sorted(sharing))}"
            yield Finding("db-shared-password", MEDIUM, where, evidence, "services/secrets.py", REFERENCE)
