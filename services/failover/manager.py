"""The failover manager on the monitoring host: decides which server takes the writes when a primary dies.

Its event log, /var/log/failover.log, has one JSON object a line: {"time": unix s, "event": ..., "ms": since the change
began, ...}.

    started         the process began; ``primary``: the one noted before
    detect          no primary any more; ``why``: by which evidence; ``positions``: each server's
    fence, fenced   a flow rule in front of the old primary was asked for, is in force; ``fence-failed``
    candidate       the server that has most, asked after all stopped receiving
    drain, drained  its relay log is being applied, is applied; ``drain-slow``: gave up, tries again
    promote, promoted   it is about to take writes, takes them
    repoint         another replica follows it; ``repoint-failed``
    routed          the balancer sends writes to it, and to no other
    demote, demoted a server that takes writes though it is not the primary: fenced, and made read-only
    rejoin, unfenced, rejoined  a server comes back as a read-only replica, from its own GTID position
    rejoin-refused  it cannot: it has transactions that the primary does not; ``positions`` of both
    switchover      a planned change began; then drained, promoted, routed, repoint; ``switchover-refused``
    corrected       a setting that the promise rests on was changed by somebody, and is put back; ``correct-failed``
    reconnect, reconnected  a replica connects anew, because its old connection to the primary does not end
    hand-over       writes do not end on the primary, which answers: another server takes over, as in a switchover
    restart, restarted  the same, and no replica acknowledges: the primary is switched off and on
    waiting         nothing may be done yet, and ``why``
    promote-failed, route-failed, demote-failed, rejoin-failed, ...   a step could not be done; it is decided anew
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from services.mariadb.guarantees import guarantees
from services.mariadb.mariadb import ENCRYPTED, FOLLOW, PLAIN
from services.secrets import Secrets
from services.service import Command, File, Look, Service, accepts
from topo import users
from topo.paths import PROJECT
from topo.plan import BALANCER, DATABASE, RUNTIME, Plan
from topo.profile import Profile
from topo.tls import means

CONFIG = "/run/failover/config.json"
STATE = "/run/failover/state.json"
ASK = "/run/failover/failover.sock"
LOG = "/var/log/failover.log"
# the certificate authority that the manager trusts, and its own certificate
AUTHORITY, PROOF = "/run/failover/ca.pem", "/run/failover/failover.pem"
HEARTBEAT_S = 0.05


class Failover(Service):
    """It comes back when it dies, and finds the present state in the servers, the balancer and the controller."""

    role = users.FAILOVER
    restarts = True

    def __init__(self, host: str, plan: Plan, profile: Profile, secrets: Secrets) -> None:
        super().__init__(host)
        self.plan = plan
        self.profile = profile
        self.secrets = secrets

    @property
    def output(self) -> str:
        return "/var/log/failover-process.log"

    @property
    def logs(self) -> tuple[str, ...]:
        return (self.output, LOG)

    @property
    def reads(self) -> tuple[str, ...]:
        return (users.CONTROLLER,)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(PROJECT)}

    def files(self) -> tuple[File, ...]:
        config = {
            "lossless": self.profile.db == "semisync",
            "servers": {host.name: host.ip for host in self.plan.hosts_of(DATABASE)},
            "promised": {
                host.name: {**guarantees(self.profile), "server_id": str(number)}
                for number, host in enumerate(self.plan.hosts_of(DATABASE), start=1)
            },
            "login": {
                "port": self.plan.port(DATABASE),
                "user": "failover",
                "password": self.secrets.failover_password,
                **self._encryption(),
            },
            "follow": f"{FOLLOW}, MASTER_HEARTBEAT_PERIOD={HEARTBEAT_S}{ENCRYPTED if self._proves else PLAIN}",
            "replication_password": self.secrets.replication_password,
            "balancer": self.plan.host_of(BALANCER).ip,
            "port": self.plan.port(RUNTIME),
            "balancer_tls": {"authority": AUTHORITY, "proof": PROOF} if self._proves else None,
            "log": LOG,
            "state": STATE,
            "ask": ASK,
        }
        written = File(CONFIG, json.dumps(config, indent=1), 0o600)
        if not self._proves:
            return (written,)
        return (written, *self.secrets.proof(self.secrets.failover, PROOF, AUTHORITY))

    @property
    def _proves(self) -> bool:
        return means(self.profile).mutual

    def _encryption(self) -> dict[str, Any]:
        if not self._proves:
            return {"ssl_disabled": True}
        return {
            "ssl_ca": AUTHORITY,
            "ssl_cert": PROOF,
            "ssl_key": f"{PROOF}.key",
            "ssl_verify_cert": True,
            "ssl_verify_identity": True,
        }

    def command(self) -> Command:
        return (sys.executable, "-m", "services.failover", CONFIG)

    def ready(self, look: Look) -> str | None:
        """It is there, and somebody has found or made a primary: the note may be of the process before it."""
        return accepts(look.path(ASK)) or (None if noted(look).get("primary") else "no primary yet")

    def checks(self) -> tuple[Command, ...]:
        return ((sys.executable, "-c", f"import json, services.failover.decide; json.load(open('{CONFIG}'))"),)


def noted(look: Look) -> dict[str, Any]:
    """The manager's last note, empty before it has decided.

    {"primary": name, "settled": do all others follow it, "problems": [what it can do nothing about, a line each]}
    """
    path = look.path(STATE)
    value: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return value
