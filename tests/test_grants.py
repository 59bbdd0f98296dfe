"""Grants as they are written and as a server tells them: one that is missing or too many is named."""

from __future__ import annotations

import pytest

from services.mariadb.grants import Grant, difference, written
from services.mariadb.mariadb import ACCOUNTS, MariaDB
from services.secrets import Secrets
from topo.plan import plan as plan_of
from topo.profile import Profile

OWN_ROWS = [{"account": "'root'@'localhost'", "scope": "*.*", "privilege": "SUPER"}]


def told(*grants: Grant) -> list[dict[str, object]]:
    """A server's answer with these grants."""
    return [
        {"account": f"'{name.replace('@', chr(39) + '@' + chr(39))}'", "scope": of, "privilege": privilege}
        for name, of, privilege in grants
    ]


@pytest.mark.parametrize("design", ["single", "async", "semisync", "galera"])
def test_what_the_file_makes_is_what_is_expected(design: str, secrets: Secrets) -> None:
    profile = Profile(db=design)
    service = MariaDB("srv1", plan_of(profile), profile, secrets)
    accounts = next(file.text for file in service.files() if file.path == ACCOUNTS)
    grants = written(accounts)
    assert ("app_write@10.0.2.10", "foobar.messages", "INSERT") in grants
    assert (("haproxy_check@10.0.2.10", "*.*", "USAGE") in grants) is (design in ("single", "galera"))
    assert (("replication@10.0.3.12", "*.*", "REPLICATION SLAVE") in grants) is (design != "galera")
    assert difference(accounts, [*OWN_ROWS, *told(*grants)]) is None


def test_a_grant_too_few_and_one_too_many_are_named() -> None:
    accounts = "CREATE OR REPLACE USER a@'1.2.3.4' IDENTIFIED BY 'x';\nGRANT SELECT, INSERT ON s.t TO a@'1.2.3.4';\n"
    right = ("a@1.2.3.4", "*.*", "USAGE"), ("a@1.2.3.4", "s.t", "SELECT"), ("a@1.2.3.4", "s.t", "INSERT")
    assert difference(accounts, told(*right)) is None
    assert difference(accounts, told(*right[:2])) == "a@1.2.3.4 lacks INSERT on s.t"
    more = ("a@1.2.3.4", "*.*", "READ_ONLY ADMIN")
    assert difference(accounts, told(*right, more)) == "a@1.2.3.4 has READ_ONLY ADMIN on *.*"
    assert "b@h has SUPER" in str(difference(accounts, told(*right, ("b@h", "*.*", "SUPER"))))
