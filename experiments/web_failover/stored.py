"""What the database holds of the POSTs: what was executed, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.mariadb import mariadb

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def stored(testbed: Testbed, server: str, tag: str) -> dict[str, list[int]]:
    """The request's ``number`` and the ``message``'s of each row that a load of that tag has written."""
    rows = mariadb.query(
        testbed.inside(server),
        "SELECT id, body FROM foobar.messages WHERE body LIKE %s ORDER BY id",
        f"{tag}-%",
    )
    return {
        "number": [int(row["body"].rpartition("-")[2]) for row in rows],
        "message": [row["id"] for row in rows],
    }
