"""The settings that the promise rests on: one list for configuration, failover manager and steady state."""

from __future__ import annotations

import pytest

from services.mariadb.guarantees import GIVEN_UP, corrections, guarantees, of_primary, question, violations
from services.mariadb.mariadb import MariaDB
from services.secrets import Secrets
from topo.plan import plan as plan_of
from topo.profile import Profile

SEMISYNC = guarantees(Profile(db="semisync"))
#: what a server says that has all of them, as MariaDB writes it: switches are numbers
KEPT: dict[str, object] = {name: {"ON": 1, "OFF": 0}.get(value, value) for name, value in of_primary(SEMISYNC).items()}


def test_a_server_that_keeps_them_has_no_violation() -> None:
    assert violations(SEMISYNC, KEPT, writable=True) == ()


@pytest.mark.parametrize("name", of_primary(SEMISYNC))
def test_each_single_one_is_noticed(name: str) -> None:
    seen = 0 if KEPT[name] == 1 else "other"
    assert violations(SEMISYNC, {**KEPT, name: seen}, writable=True) == ((name, str(seen)),)
    assert f"@@GLOBAL.{name} AS {name}" in question(SEMISYNC)


def test_a_replica_waits_for_nobody() -> None:
    assert violations(SEMISYNC, {**KEPT, "rpl_semi_sync_master_enabled": 0}, writable=False) == ()


def test_a_number_is_no_switch() -> None:
    assert violations(SEMISYNC, {**KEPT, "sync_binlog": 0}, writable=True) == (("sync_binlog", "0"),)


def test_semisync_that_was_given_up_is_taken_up_after_its_timeout_is_right() -> None:
    assert corrections(SEMISYNC, [GIVEN_UP, "rpl_semi_sync_master_timeout"]) == [
        f"SET GLOBAL rpl_semi_sync_master_timeout = {2**64 - 1}",
        "SET GLOBAL rpl_semi_sync_master_enabled = OFF",
        "SET GLOBAL rpl_semi_sync_master_enabled = ON",
    ]


@pytest.mark.parametrize("design", ["single", "async", "semisync"])
def test_the_configuration_says_what_is_watched(design: str, secrets: Secrets) -> None:
    profile = Profile(db=design)
    for host in ("srv1", "srv2"):
        service = MariaDB(host, plan_of(profile), profile, secrets)
        lines = service.files()[0].text.splitlines()
        for name, value in service.promised.items():
            assert f"{name} = {value}" in lines
