"""Check ``processes``: users, capabilities and command lines of every service's processes on the hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding
from testbed.audit.hostprocesses import AuditedProcess
from testbed.audit.secretvalue import SecretValue, values
from testbed.namespaces import BEYOND, CAPABILITIES
from topo import users
from topo.plan import Host

REFERENCE = "CIS Controls v8, 5.4 and 6.8; capabilities(7)"


@dataclass(frozen=True)
class HostPrivileges:
    """The processes of a host; ``secrets``: what must not stand in a command line, which every user may read.

    ``one_user``: the reason for which services can have no users of their own, if there is one.
    """

    host: str
    processes: Sequence[AuditedProcess]
    secrets: Sequence[SecretValue]
    one_user: str | None = None


def places(auditor: Auditor) -> Places[HostPrivileges]:
    """The hosts."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_read, auditor, host)


def _read(auditor: Auditor, host: Host) -> HostPrivileges:
    return HostPrivileges(host.name, auditor.processes(host), values(auditor.secrets), users.why_not())


def judge(facts: HostPrivileges) -> Iterator[Finding]:
    """Capabilities that a service does not need; services that share a user; secrets on command lines."""
    for one in facts.processes:
        for secret in facts.secrets:
            if secret.text in one.command:
                evidence = f"the command line of {one.name} holds {secret.what}"
                yield Finding("secret-command-line", HIGH, facts.host, evidence, "put it into a file", REFERENCE)
    together: dict[int, dict[str, str]] = {}
    for one in facts.processes:
        if one.service is not None:
            yield from _privileged(facts.host, one)
            together.setdefault(one.uid, {})[one.service.role] = one.name
    for uid, roles in together.items():
        if uid == 0 or len(roles) > 1:
            yield _shared(facts, uid, roles)


def _shared(facts: HostPrivileges, uid: int, roles: Mapping[str, str]) -> Finding:
    """Root is shared even by one: the host's own files are its."""
    evidence = f"{', '.join(roles.values())}: run as one user, {'root' if uid == 0 else uid}: whoever takes over one"
    evidence += " reads the files of the others, and of the host" if uid == 0 else " reads the files of the others"
    remedy = f"{facts.one_user}" if facts.one_user else "a user for each service: topo/users.py"
    where = f"{facts.host}: {', '.join(roles)}"
    return Finding("process-shared-user", MEDIUM, where, evidence, remedy, REFERENCE)


def _privileged(host: str, one: AuditedProcess) -> Iterator[Finding]:
    assert one.service is not None
    where = f"{host}/{one.service.role}"
    names = {bit: name for name, bit in (CAPABILITIES | BEYOND).items()}
    own = {names.get(bit, f"capability {bit}") for bit in range(64) if one.capabilities >> bit & 1}
    needs = {*one.service.capabilities, *(one.service.as_root if one.uid == 0 else ())}
    if more := sorted(own - needs):
        evidence = f"{one.name} has {len(more)} capabilities that it does not need: {', '.join(more)}"
        yield Finding("process-capabilities", MEDIUM, where, evidence, "services/: `capabilities`", REFERENCE)
    if needed := sorted(own & needs):
        evidence = f"{one.name} has {', '.join(needed)}, which it needs"
        yield Finding("process-capability", LOW, where, evidence, "none known", REFERENCE)
    if not one.no_new_privileges:
        evidence = f"{one.name} may gain privileges by running a program"
        yield Finding("process-new-privileges", LOW, where, evidence, "setpriv --no-new-privs", REFERENCE)
