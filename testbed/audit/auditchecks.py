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
    AuditCheck("tls", "TLS of every listener, against Mozilla's profile", listeners.places, listeners.judge),
    AuditCheck("certificates", "dates, keys and signatures", listeners.places, listeners.judge_certificates),
    AuditCheck("sockets", "every listening socket, against the policy", openports.places, openports.judge),
    AuditCheck("database", "accounts, passwords and rights", dbaccounts.places, dbaccounts.judge),
    AuditCheck("files", "who may read the files that hold secrets", secretplaces.file_places, secretplaces.judge_files),
    AuditCheck("logs", "secrets in logs", secretplaces.log_places, secretplaces.judge_logs),
    AuditCheck("processes", "users, capabilities, command lines", privileges.places, privileges.judge),
    AuditCheck("site", "headers, cookies, tokens, sessions, error pages", webanswers.places, webanswers.judge),
    AuditCheck("guesses", "limits for guesses at passwords", webanswers.guess_places, webanswers.judge_guesses),
    AuditCheck(
        "software", "packages, against the distribution's newest", packageversions.places, packageversions.judge
    ),
    AuditCheck("python", "Python's packages, against the pins", packageversions.pin_places, packageversions.judge_pins),
    AuditCheck("rules", "rules that are too wide, or not used", rulesinuse.places, rulesinuse.judge),
)
