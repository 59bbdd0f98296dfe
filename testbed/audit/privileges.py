"""Check ``processes``: users, capabilities and command lines of every service's processes on the hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding
from testbed.audit.hostprocesses import AuditedProcess
from testbed.audit.secretvalue import SecretValue, values
from testbed.namespaces import CAPABILITIES
from topo.plan import Host

REFERENCE = "CIS Controls v8, 5.4 and 6.8; capabilities(7)"


@dataclass(frozen=True)
class HostPrivileges:
    """The processes of a host; ``secrets``: what must not stand in a command line, which every user may read."""

    host: str
    processes: Sequence[AuditedProcess]
    secrets: Sequence[SecretValue]


def places(auditor: Auditor) -> Places[HostPrivileges]:
    """The hosts."""
    for host in auditor.plan.hosts:
        yield host.name, partial(_read, auditor, host)


def _read(auditor: Auditor, host: Host) -> HostPrivileges:
    return HostPrivileges(host.name, auditor.processes(host), values(auditor.secrets))


def judge(facts: HostPrivileges) -> Iterator[Finding]:
    """Capabilities that a service does not need; services that share a user; secrets on command lines."""
    for one in facts.processes:
        for secret in facts.secrets:
            if secret.text in one.command:
                evidence = f"the command line of {one.name} holds {secret.what}"
                yield Finding("secret-command-line", HIGH, facts.host, evidence, "put it into a file", REFERENCE)
    together: dict[str, list[str]] = {}
    for one in facts.processes:
        if one.service is not None:
            yield from _privileged(facts.host, one)
            if one.uid == 0:
                together.setdefault(one.service.role, []).append(one.name)
    if len(together) > 1:
        evidence = (
            f"{len(together)} services run as one user, root: whoever takes over one reads the files of the others"
        )
        where = f"{facts.host}: {', '.join(together)}"
        yield Finding("process-shared-user", MEDIUM, where, evidence, "a user for each service", REFERENCE)


def _privileged(host: str, one: AuditedProcess) -> Iterator[Finding]:
    assert one.service is not None
    where = f"{host}/{one.service.role}"
    names = {bit: name for name, bit in CAPABILITIES.items()}
    own = {names.get(bit, f"capability {bit}") for bit in range(64) if one.capabilities >> bit & 1}
    if more := sorted(own - set(one.service.capabilities)):
        evidence = f"{one.name} has {len(more)} capabilities that it does not need: {', '.join(more)}"
        yield Finding("process-capabilities", MEDIUM, where, evidence, "services/: `capabilities`", REFERENCE)
    if needed := sorted(own & set(one.service.capabilities)):
        evidence = f"{one.name} has {', '.join(needed)}, which it needs"
        yield Finding("process-capability", LOW, where, evidence, "none known", REFERENCE)
    if not one.no_new_privileges:
        evidence = f"{one.name} may gain privileges by running a program"
        yield Finding("process-new-privileges", LOW, where, evidence, "setpriv --no-new-privs", REFERENCE)
