"""MariaDB as one of a Galera cluster: every server may take writes, and a commit is certified by all of them.

No server begins the cluster at the boot. All data directories are copies of one template, so each server is told, in
the files where Galera itself keeps such things, that it has the cluster's state and was in one group with the others:
they start as after a failure of all at once, with nothing to send to each other. A server that comes back later asks
its own engine how far it is, and joins the others there. When all have ended, they are told so again and start
together, and the one that has most gives it to the others. No server ever begins a cluster alone, so there is never a
second one.
"""

from __future__ import annotations

from collections.abc import Mapping

import pymysql

from services.mariadb import datadir
from services.mariadb.mariadb import CONFIG, DATA, MariaDB, query
from services.service import Command, File, Look, below, render
from topo.environment import SYSTEM_PATH

START, STARTED, BIN = "/run/mysqld/start.sh", "/run/mysqld/started", "/run/mysqld/bin"
# the transfer's own program, and the rsync that it finds
TRANSFERS = ("wsrep_sst_rsync_root", "rsync")
# any UUIDs would do, if only all servers are told the same
STATE_ID, MEMBER_ID = "f00ba000-0000-11ee-8000-000000000001", "f00ba{:03x}-0000-11ee-8000-000000000001"


class Galera(MariaDB):
    """The same database with Galera's library in it."""

    aliases = ("galera",)
    patience = 40.0
    #: rsync, by which a server is sent all, takes root's rights again that it has already
    as_root = ("setgid", "setuid")

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": f"{SYSTEM_PATH}:{BIN}"}

    def files(self) -> tuple[File, ...]:
        start = render("galera.sh.j2", config=CONFIG, started=STARTED)
        transfer = render("transfer.sh.j2", bin=BIN)
        transfers = (File(f"{BIN}/{name}", transfer, 0o700) for name in TRANSFERS)
        return (*super().files(), File(START, start, 0o700), *transfers)

    def prepare(self, look: Look) -> None:
        data = look.path(DATA)
        datadir.copy(data)
        look.path(STARTED).unlink(missing_ok=True)
        state = {"version": "2.1", "uuid": STATE_ID, "seqno": 0, "safe_to_bootstrap": 0}
        (data / "grastate.dat").write_text("# GALERA saved state\n" + _lines(state))
        self.gather(look)

    def gather(self, look: Look) -> None:
        folder, name = below(look, f"{DATA}/gvwstate.dat")
        folder.write(name, self._group())

    def gathered(self, look: Look) -> bool:
        """True if it is in the group that may go on, the one with a majority."""
        try:
            rows = query(look, "SHOW STATUS LIKE 'wsrep_cluster_status'")
        except (pymysql.Error, OSError):
            return False
        return [row["Value"] for row in rows] == ["Primary"]

    def _group(self) -> str:
        """The group that it was in, as Galera notes it."""
        members = {host.name: MEMBER_ID.format(number) for number, host in enumerate(self.databases, start=1)}
        view = {"view_id": f"3 {members[self.plan.primary.name]} 1", "bootstrap": 0}
        others = "".join(f"member: {member} 0\n" for member in members.values())
        return f"my_uuid: {members[self.host]}\n#vwbeg\n{_lines(view)}{others}#vwend\n"

    def command(self) -> Command:
        return ("sh", START)

    def join(self, look: Look) -> None:
        """Nothing to do: it has joined the cluster by starting."""

    def joined(self, look: Look) -> str | None:
        status = {str(row["Variable_name"]): str(row["Value"]) for row in query(look, "SHOW STATUS LIKE 'wsrep_%'")}
        state, size = status.get("wsrep_local_state_comment"), status.get("wsrep_cluster_size")
        if (state, size) == ("Synced", str(len(self.databases))):
            return None
        return f"{state}, {size} of {len(self.databases)} in the cluster ({status.get('wsrep_cluster_status')})"


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in values.items())
