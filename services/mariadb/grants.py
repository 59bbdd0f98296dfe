"""The rights of accounts: as the file that makes them says, and as a server says that they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: account, of what (``*.*``, ``schema.*``, ``schema.table``), privilege
Grant = tuple[str, str, str]

#: accounts that MariaDB's own installation makes
OWN = ("root", "mysql", "mariadb.sys", "PUBLIC")
#: what is granted on a server, and to whom; read by its administrator
QUESTION = (
    "SELECT GRANTEE AS account, '*.*' AS scope, PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES"
    " UNION ALL SELECT GRANTEE, CONCAT(TABLE_SCHEMA, '.*'), PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES"
    " UNION ALL SELECT GRANTEE, CONCAT(TABLE_SCHEMA, '.', TABLE_NAME), PRIVILEGE_TYPE"
    " FROM information_schema.TABLE_PRIVILEGES"
)
_GRANT = re.compile(r"^GRANT (.+) ON (\S+) TO ([^\s;]+)", re.MULTILINE)
_USER = re.compile(r"^CREATE OR REPLACE USER (\S+?)[ ;]", re.MULTILINE)


def written(accounts: str) -> frozenset[Grant]:
    """The grants that a file of statements makes; an account without any may still log in."""
    logins = {(_plain(name), "*.*", "USAGE") for name in _USER.findall(accounts)}
    granted = {
        (_plain(name), of, _known(privilege))
        for privileges, of, name in _GRANT.findall(accounts)
        for privilege in privileges.split(", ")
    }
    return frozenset(granted | {login for login in logins if login[0] not in _everywhere(granted)})


def standing(rows: Iterable[Mapping[str, object]]) -> frozenset[Grant]:
    """The grants that a server tells, but for those of its own accounts."""
    told = {(_plain(str(row["account"])), str(row["scope"]), _known(str(row["privilege"]))) for row in rows}
    return frozenset(grant for grant in told if grant[0].partition("@")[0] not in OWN)


def difference(accounts: str, rows: Iterable[Mapping[str, object]]) -> str | None:
    """The grants that are missing, and those that nobody was to have; None when there are neither."""
    right, now = written(accounts), standing(rows)
    missing = [f"{name} lacks {privilege} on {of}" for name, of, privilege in sorted(right - now)]
    more = [f"{name} has {privilege} on {of}" for name, of, privilege in sorted(now - right)]
    return ", ".join(missing + more) or None


def _everywhere(grants: Iterable[Grant]) -> set[str]:
    return {name for name, of, _ in grants if of == "*.*"}


def _plain(account: str) -> str:
    return account.replace("'", "").replace("`", "")


def _known(privilege: str) -> str:
    """A privilege under its one name: releases call a replica a slave, or the other way round."""
    return privilege.strip().replace("REPLICA MONITOR", "SLAVE MONITOR")
