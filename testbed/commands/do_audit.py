"""``audit``: the security audit of a running testbed."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import ChangeRequest, Command, Origin, Request
from topo.errors import EXIT_FAILS, EXIT_HOLDS, EXIT_UNKNOWN
from topo.plaintext import say

if TYPE_CHECKING:
    from testbed.testbed import Testbed


def _audit(testbed: Testbed) -> dict[str, Any]:
    from testbed.audit.auditchecks import CHECKS
    from testbed.audit.auditor import audited

    return audited(testbed, CHECKS).as_dict()


class AuditCommand(Command):
    """0: nothing serious found; 1: a finding of severity medium or higher; 3: some place could not be looked at."""

    name = "audit"
    words = "[--json]"
    summary = "the security audit: TLS, sockets, accounts, secrets, privileges, the site, software, rules, logs"
    about = "Audit the testbed's security: findings with severity, evidence and remedy (docs/experiments/audit.md)."
    group = "firewalls"

    @property
    def requests(self) -> Mapping[str, Request]:
        # it visits the site and connects to every listener, which an experiment would see
        return {"audit": ChangeRequest(_audit)}

    def arguments(self, parser: Parser) -> None:
        parser.add_argument("--json", action="store_true", help="as JSON")
        parser.add_argument(
            "--junit", type=Path, metavar="FILE", help="write each check as a test case of JUnit XML, too"
        )

    def run(self, options: Namespace, origin: Origin) -> int:
        target = origin.target(options.name)
        from testbed.audit.auditpage import junit, shown
        from testbed.audit.finding import report
        from topo import folders

        content = target.ask("audit")
        found = report(content)
        if options.junit:
            folders.write(options.junit, junit(found).encode())
        if options.json:
            say(json.dumps(content, indent=1))
        else:
            from testbed import render

            render.console.print(shown(found), soft_wrap=True)
        return {True: EXIT_HOLDS, False: EXIT_FAILS, None: EXIT_UNKNOWN}[found.holds]
