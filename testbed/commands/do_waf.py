"""``waf why | try``: why the web application firewall refused a request, and whether it would refuse one."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from testbed.commandline import Parser
from testbed.commands.command import Command, Origin, Request
from topo.errors import EXIT_HOLDS, RefusedError, UsageError
from topo.plaintext import say
from topo.plan import SITE

if TYPE_CHECKING:
    from services.waf.engine import JudgedRequest
    from testbed.testbed import Testbed

WHY, TRY = "why", "try"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class WafCommand(Command):
    """``why`` looks into the logs of the servers; ``try`` asks the library that nginx loads, here."""

    name = "waf"
    words = f"{WHY} | {TRY}"
    summary = "why the web application firewall refused a request, or would"
    about = "Show why the web application firewall refused a request, or judge one that is sent to nobody."
    group = "monitoring"

    @property
    def requests(self) -> Mapping[str, Request]:
        return {"refusal": _refusal}

    def arguments(self, parser: Parser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="VERB")
        why = verbs.add_parser(WHY, description="The rule, the input, and the bytes in it.", allow_abbrev=False)
        why.add_argument("request", metavar="ID", help="the number on the refusal's page")
        attempt = verbs.add_parser(TRY, description="Judge a request without sending it.", allow_abbrev=False)
        attempt.add_argument("method", metavar="METHOD")
        attempt.add_argument("path", metavar="PATH", help="with what stands after it, as in /messages?before=3")
        attempt.add_argument("data", metavar="DATA", nargs="?", default="", help="a form's, or a JSON object")
        for own in (why, attempt):
            own.add_argument("--json", action="store_true", help="as JSON")

    def run(self, options: Namespace, origin: Origin) -> int:
        if options.verb is None:
            raise UsageError(f"waf: say one of: {WHY}, {TRY}")
        found = self._why(options, origin) if options.verb == WHY else _try(options)
        say(json.dumps(found) if options.json else _told(found))
        return EXIT_HOLDS

    def _why(self, options: Namespace, origin: Origin) -> dict[str, Any]:
        target = origin.target(options.name)
        if not target.profile.shielded:
            raise RefusedError("--waf off: nothing judges requests")
        found: dict[str, Any] | None = target.ask("refusal", number=options.request)
        if found is None:
            raise RefusedError(f"waf why {options.request}: no server has refused such a request")
        return found


def _refusal(testbed: Testbed, number: str) -> dict[str, Any] | None:
    """The refusal of a request, from the logs of the servers themselves; None if there is none."""
    from services import logfiles
    from services.waf import refusal

    mark = f'"unique_id":"{number}"'.encode()
    for unit in testbed.supervisor.units:
        if refusal.LOG in unit.service.logs:
            log = unit.written(logfiles.before(refusal.LOG)) + unit.written(refusal.LOG)
            for line in log.splitlines() if mark in log else ():
                if mark in line:
                    return asdict(refusal.of_audit(line))
    return None


def request(method: str, path: str, data: str) -> JudgedRequest:
    """A request as a browser sends it through the balancer."""
    from services.waf.engine import JudgedRequest

    body = data.encode("utf-8", "surrogateescape")
    headers = [("Host", SITE), ("User-Agent", BROWSER), ("Accept", "*/*"), ("X-Request-ID", "try")]
    if body:
        kind = JSON if data.lstrip().startswith(("{", "[")) else FORM
        headers += [("Content-Type", kind), ("Content-Length", str(len(body)))]
    return JudgedRequest(method, path, tuple(headers), body)


def _try(options: Namespace) -> dict[str, Any]:
    from services.waf.engine import engine

    with engine() as judge:
        found = judge.refusal(request(options.method, options.path, options.data))
    return {"refused": False} if found is None else {"refused": True, **asdict(found)}


def _told(found: dict[str, Any]) -> str:
    if not found.get("refused", True):
        return "passes: no rule refuses it"
    rules = ", ".join(map(str, found["rule"]))
    return "\n".join(
        (
            f"refused with {found['code']}: {found['message']} (rule {rules})",
            f"  request  {found['method']} {found['path']} from {found['client']}",
            f"  input    {found['target']}",
            f"  matched  {found['matched']}",
        )
    )
