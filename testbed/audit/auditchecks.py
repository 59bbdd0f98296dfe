"""Every check of an audit, listed by hand: the place to add one."""

from __future__ import annotations

from typing import Any

from testbed.audit import (
    dbaccounts,
    listeners,
    openports,
    packageversions,
    privileges,
    rulesinuse,
    secretplaces,
    webanswers,
)
from testbed.audit.auditor import AuditCheck

CHECKS: tuple[AuditCheck[Any], ...] = (
    AuditCheck("tls", listeners.places, listeners.judge),
    AuditCheck("certificates", listeners.places, listeners.judge_certificates),
    AuditCheck("sockets", openports.places, openports.judge),
    AuditCheck("database", dbaccounts.places, dbaccounts.judge),
    AuditCheck("files", secretplaces.file_places, secretplaces.judge_files),
    AuditCheck("logs", secretplaces.log_places, secretplaces.judge_logs),
    AuditCheck("processes", privileges.places, privileges.judge),
    AuditCheck("site", webanswers.places, webanswers.judge),
    AuditCheck("guesses", webanswers.guess_places, webanswers.judge_guesses),
    AuditCheck("software", packageversions.places, packageversions.judge),
    AuditCheck("python", packageversions.pin_places, packageversions.judge_pins),
    AuditCheck("rules", rulesinuse.places, rulesinuse.judge),
)
