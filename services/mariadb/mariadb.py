"""MariaDB on a server: primary or replica, GTID replication, accounts with the fewest privileges that they need."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymysql
import pymysql.cursors

from services.mariadb import datadir, grants
from services.mariadb.guarantees import guarantees, question, violations
from services.secrets import Secrets
from services.service import Command, File, Look, Service, render
from topo import users
from topo.plan import APP, BALANCER, DATABASE, MONITOR, PORTS, Host, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG, ACCOUNTS = "/run/mysqld/my.cnf", "/run/mysqld/accounts.sql"
SOCKET, DATA = "/run/mysqld/mysqld.sock", "/var/lib/mysql"
# the certificate authority that a database trusts, and its own certificate, for clients and for its primary
AUTHORITY, CERTIFICATE = "/run/mysqld/ca.pem", "/run/mysqld/database.pem"
LOG = "/var/log/mysql/error.log"
# the statements of connections that ask for it, as the application's do where logs are collected
STATEMENTS = "/var/log/mysql/slow.log"
PROTOCOL = 10
GALERA = "/usr/lib/galera/libgalera_smm.so"
# which binary log to follow: the primary's address, the replication account's password
FOLLOW = (
    f"CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT={PORTS[DATABASE]}, MASTER_USER='replication', MASTER_PASSWORD=%s,"
    " MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1"
)
# the end of a CHANGE MASTER: the primary must prove itself to the replica, and the replica to the primary
ENCRYPTED = (
    f", MASTER_SSL=1, MASTER_SSL_CA='{AUTHORITY}', MASTER_SSL_VERIFY_SERVER_CERT=1,"
    f" MASTER_SSL_CERT='{CERTIFICATE}', MASTER_SSL_KEY='{CERTIFICATE}.key'"
)
# or of one in the clear: since 11.4 a replica insists on TLS, for which a server makes up a certificate
PLAIN = ", MASTER_SSL=0"


class MariaDB(Service):
    """Every server has the same accounts, made by its own init file and kept out of the binary log."""

    role = DATABASE
    product = "mariadb"

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.tls = means(profile)
        self.secrets = secrets

    @property
    def databases(self) -> tuple[Host, ...]:
        return self.plan.hosts_of(DATABASE)

    @property
    def is_primary(self) -> bool:
        return self.host == self.plan.primary.name

    @property
    def logs(self) -> tuple[str, ...]:
        return (LOG, self.output)

    @property
    def local_logs(self) -> tuple[str, ...]:
        return (STATEMENTS,) if self.profile.monitored else ()

    def files(self) -> tuple[File, ...]:
        config = render(
            "my.cnf.j2",
            user=users.name(self.role),
            databases=self.databases,
            port=self.plan.port(DATABASE),
            host=self.plan.host(self.host),
            server_id=self.promised["server_id"],
            duty=self._duty(),
            read_only=self.profile.managed or not (self.is_primary or self.profile.cluster),
            cluster=self.profile.cluster,
            provider=GALERA,
            managed=self.profile.managed,
            lossless=self.profile.db == "semisync",
            guarantees=guarantees(self.profile),
            data=DATA,
            socket=SOCKET,
            accounts=ACCOUNTS,
            log=LOG,
            statements=STATEMENTS if self.profile.monitored else None,
            tls=self.tls,
            authority=AUTHORITY,
            certificate=CERTIFICATE,
            sizes=[option.lstrip("-") for option in datadir.SIZES],
        )
        accounts = render(
            "accounts.sql.j2",
            balancer=self.plan.host_of(BALANCER),
            monitor=self.plan.host_of(MONITOR) if self.profile.managed else None,
            readers=self._readers(),
            tls=self.tls,
            secrets=self.secrets,
            cluster=self.profile.cluster,
            managed=self.profile.managed,
            monitored=self.profile.monitored,
            replicas=self._replicas(),
        )
        return (File(CONFIG, config), File(ACCOUNTS, accounts, 0o600), *self._certificates())

    @property
    def promised(self) -> dict[str, str]:
        """The settings that it must have, by which no write is lost."""
        number = self.databases.index(self.plan.host(self.host)) + 1
        promised = {**guarantees(self.profile), "server_id": str(number)}
        if self.profile.managed or self.profile.cluster:  # where one server may take over from another, others look
            return promised
        return {**promised, "read_only": "OFF" if self.is_primary else "ON"}

    def broken_promises(self, look: Look) -> str | None:
        """Its settings and grants that are not as promised, by what it says of itself."""
        row = query(look, f"SELECT @@GLOBAL.read_only AS closed, {question(self.promised)}")[0]
        wrong = violations(self.promised, row, writable=self.profile.managed and not row["closed"])
        changed = ", ".join(f"{name} is {seen}" for name, seen in wrong)
        accounts = next(file.text for file in self.files() if file.path == ACCOUNTS)
        return changed or grants.difference(accounts, query(look, grants.QUESTION))

    def _certificates(self) -> Iterator[File]:
        if self.tls.mutual:
            yield from self.secrets.proof(self.secrets.databases[self.host], CERTIFICATE, AUTHORITY)

    def _replicas(self) -> tuple[Host, ...]:
        """The servers that may follow this one, today or one day."""
        if self.profile.cluster:
            return ()
        return self.databases if self.profile.managed else self.databases[1:]

    def _readers(self) -> tuple[Host, ...]:
        """The hosts whose applications read from here over the network."""
        return () if self.plan.together(APP, DATABASE) else self.plan.hosts_of(APP)

    def _duty(self) -> str:
        if self.profile.managed:
            return "read-only until the failover manager opens it"
        if self.profile.cluster:
            return "one of a cluster"
        return "the primary" if self.is_primary else "a replica, read-only"

    def directories(self) -> tuple[str, ...]:
        return ("/var/log/mysql", DATA)

    def checks(self) -> tuple[Command, ...]:
        # with --help it reads every option, refuses what it does not know, and touches no data
        return (("mariadbd", f"--defaults-file={CONFIG}", "--help", "--verbose"),)

    def prepare(self, look: Look) -> None:
        datadir.copy(look.path(DATA))

    def command(self) -> Command:
        return ("mariadbd", f"--defaults-file={CONFIG}")

    def ready(self, look: Look) -> str | None:
        """It greets with its protocol version once the init file has run."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.5)
            try:
                connection.connect(str(look.path(SOCKET)))
                greeting = connection.recv(5)
            except OSError as error:
                return f"{SOCKET}: {error}"
        return None if greeting[4:] == bytes([PROTOCOL]) else f"{SOCKET}: greeting {greeting!r}"

    def join(self, look: Look) -> None:
        """A replica begins to follow the primary; where there is a failover manager, that is its work."""
        if self.is_primary or self.profile.managed:
            return
        follow = f"{FOLLOW}{ENCRYPTED if self.tls.mutual else PLAIN}"
        query(look, follow, self.plan.primary.ip, self.secrets.replication_password)
        query(look, "START SLAVE")

    def joined(self, look: Look) -> str | None:
        if is_writable(look) if self.profile.managed else self.is_primary:
            return None
        status = replication(look)
        running = status.get("Slave_IO_Running"), status.get("Slave_SQL_Running")
        if running == ("Yes", "Yes"):
            return None
        problem = status.get("Last_IO_Error") or status.get("Last_SQL_Error") or "no error yet"
        return f"receiving {running[0]}, applying {running[1]}: {problem}"


def query(look: Look, statement: str, *values: object) -> list[dict[str, Any]]:
    """Run a statement as the database's administrator, over its socket. Rows as dicts by column name."""
    connection = pymysql.connect(
        unix_socket=str(look.path(SOCKET)),
        user="root",
        ssl_disabled=True,  # it never leaves the machine, and to prepare for TLS takes 24 ms
        autocommit=True,
        connect_timeout=2,
        read_timeout=10,
        cursorclass=pymysql.cursors.DictCursor,
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def replication(look: Look) -> dict[str, Any]:
    """SHOW SLAVE STATUS of a replica; empty on a server that follows none."""
    rows = query(look, "SHOW SLAVE STATUS")
    return rows[0] if rows else {}


def is_writable(look: Look) -> bool:
    """True if ordinary accounts may write here."""
    return not query(look, "SELECT @@read_only AS read_only")[0]["read_only"]


def position(look: Look) -> str:
    """The position up to which this server has everything: a GTID; in a cluster, the number of the last commit."""
    asked = (
        "SELECT IF(@@wsrep_on, (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS"
        " WHERE VARIABLE_NAME = 'WSREP_LAST_COMMITTED'), @@gtid_current_pos) AS position"
    )
    return str(query(look, asked)[0]["position"])
