"""Checks ``site`` and ``guesses``: headers, cookies, tokens, sessions and error pages, as a visitor sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from services import gunicorn
from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import HIGH, LOW, MEDIUM, Finding
from testbed.audit.sitevisit import SiteVisit, WebAnswer
from topo.plan import APP, CLIENT

REFERENCE = "OWASP ASVS 4.0.3"
#: two years, as Mozilla's profile asks
HSTS_SECONDS = 63072000
#: header, what it must match, severity, section of the ASVS
HEADERS = (
    ("content-security-policy", r"default-src 'self'(?!.*unsafe-(inline|eval))", MEDIUM, "V14.4.3"),
    ("x-content-type-options", r"nosniff$", LOW, "V14.4.4"),
    ("referrer-policy", r"(same-origin|no-referrer|strict-origin.*)$", LOW, "V14.4.6"),
    ("content-security-policy", r".*frame-ancestors '(none|self)'", MEDIUM, "V14.4.7"),
)
PAGES = ("home page", "log-in page", "page that is missing", "page of one who is logged in")
#: what an error page tells of the inside
INSIDE = re.compile(r"Traceback|/usr/|File \"|SQLSTATE|(nginx|HAProxy|gunicorn|werkzeug|MariaDB)/?\s?\d", re.IGNORECASE)
VERSION = re.compile(r"\d+\.\d+")
ATTRIBUTES = (("secure", HIGH, "V3.4.1"), ("httponly", MEDIUM, "V3.4.2"), ("samesite=", MEDIUM, "V3.4.3"))
FILE, COOKIES = "services/site/headers.py", "services/site/app.py: settings"


@dataclass(frozen=True)
class GuessLimits:
    """The applications, and whether each stops guesses at passwords, as its settings say."""

    host: str
    limited: bool


def places(auditor: Auditor) -> Places[SiteVisit]:
    """The client host."""
    yield auditor.plan.host_of(CLIENT).name, auditor.visit


def judge(visit: SiteVisit) -> Iterator[Finding]:
    """Everything that one visit shows."""
    yield from _headers(visit)
    yield from _told(visit)
    yield from _cookies(visit)
    yield from _session(visit)


def _finding(kind: str, severity: str, what: str, evidence: str, remedy: str, section: str) -> Finding:
    return Finding(kind, severity, f"site: {what}", evidence, remedy, f"{REFERENCE}, {section}")


def _headers(visit: SiteVisit) -> Iterator[Finding]:
    for page in PAGES:
        answer = visit.answers[page]
        for name, pattern, severity, section in HEADERS:
            if not re.match(pattern, value := answer.header(name), re.IGNORECASE):
                evidence = f"{name}: {value or 'missing'}"
                yield _finding("web-header", severity, page, evidence, FILE, section)
        age = re.search(r"max-age=(\d+)", answer.header("strict-transport-security"))
        if not age or int(age[1]) < HSTS_SECONDS:
            evidence = f"strict-transport-security: {answer.header('strict-transport-security') or 'missing'}"
            yield _finding("web-hsts", MEDIUM, page, evidence, "services/templates/haproxy.cfg.j2", "V14.4.5")
    if "nosniff" not in visit.answers["static file"].header("x-content-type-options"):
        evidence, remedy = "x-content-type-options: missing", "services/templates/nginx.conf.j2"
        yield _finding("web-header", LOW, "static file", evidence, remedy, "V14.4.4")
    personal = visit.answers["page of one who is logged in"]
    if "no-store" not in personal.header("cache-control"):
        evidence = f"cache-control: {personal.header('cache-control') or 'missing'}"
        yield _finding("web-cache", MEDIUM, personal.what, evidence, FILE, "V8.2.1")


def _told(visit: SiteVisit) -> Iterator[Finding]:
    """Versions in headers, and the inside of programs on error pages."""
    for answer in visit.answers.values():
        for name in ("server", "x-powered-by", "via"):
            if VERSION.search(answer.header(name)):
                evidence = f"{name}: {answer.header(name)}"
                yield _finding("web-version", LOW, answer.what, evidence, "services/templates/", "V14.3.3")
        if answer.status >= 400 and (told := INSIDE.search(answer.body)):
            evidence = f"the page of status {answer.status} says {told[0]!r}"
            yield _finding("web-error-page", MEDIUM, answer.what, evidence, "services/site/failures.py", "V14.3.2")
    plain = visit.answers["plain HTTP"]
    if plain.status not in (301, 308) or not plain.header("location").startswith("https://"):
        evidence = f"status {plain.status} instead of a redirection to HTTPS"
        yield _finding("web-plain", HIGH, plain.what, evidence, "services/templates/haproxy.cfg.j2", "V9.1.1")


def _cookies(visit: SiteVisit) -> Iterator[Finding]:
    for answer in visit.answers.values():
        for cookie in answer.cookies:
            name = cookie.partition("=")[0]
            parts = [part.strip().lower() for part in cookie.split(";")[1:]]
            for attribute, severity, section in ATTRIBUTES:
                if not any(part.startswith(attribute) for part in parts):
                    evidence = f"the cookie {name} is not {attribute.rstrip('=')}"
                    yield _finding("web-cookie", severity, answer.what, evidence, COOKIES, section)
            if not name.startswith("__Host-"):
                evidence = f"the cookie {name} is not bound to this host (__Host-)"
                yield _finding("web-cookie", LOW, answer.what, evidence, COOKIES, "V3.4.4")


def _session(visit: SiteVisit) -> Iterator[Finding]:
    for what in ("log-in without a token", "post without a token"):
        if accepted(visit.answers[what]):
            evidence = f"answered with status {visit.answers[what].status}: another site could have sent it"
            yield _finding("web-csrf", HIGH, what, evidence, "services/site/app.py: CSRFProtect", "V4.2.2")
    if visit.before and visit.before == visit.after:
        evidence = "the session's cookie is the same before and after the log-in"
        yield _finding("web-session", HIGH, "log-in", evidence, "services/site/cookie.py: log_in", "V3.2.1")
    old = visit.answers["cookie after the log-out"]
    if old.logged_in:
        evidence = "a copy of the cookie still logs in"
        yield _finding("web-session", MEDIUM, old.what, evidence, "services/site/cookie.py: log_out", "V3.3.1")


def accepted(answer: WebAnswer) -> bool:
    """True if a request was done."""
    return answer.status < 400


def guess_places(auditor: Auditor) -> Places[GuessLimits]:
    """By the settings, since real guesses would be an attack, which an intrusion detector answers."""
    for host in auditor.plan.hosts_of(APP):
        yield host.name, partial(_limits, auditor, host.name)


def _limits(auditor: Auditor, host: str) -> GuessLimits:
    settings: dict[str, Any] = json.loads(auditor.testbed.inside(host).path(gunicorn.SITE_CONFIG).read_text())
    return GuessLimits(host, bool(settings.get("limits")))


def judge_guesses(facts: GuessLimits) -> Iterator[Finding]:
    """An application without limits."""
    if not facts.limited:
        evidence = "whoever guesses at a password may go on for ever"
        where = f"{facts.host}/{APP}"
        yield Finding("login-unlimited", MEDIUM, where, evidence, "--limits on", f"{REFERENCE}, V2.2.1")
