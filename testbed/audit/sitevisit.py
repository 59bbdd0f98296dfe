"""A visit to the site from the client host: a new user signs up, logs in, tries what must be refused, and logs out."""

from __future__ import annotations

import re
import secrets as random
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from time import monotonic, sleep
from urllib.parse import urlencode

from services.secrets import Secrets
from testbed.audit.secretvalue import SecretValue
from testbed.core import TestbedCore
from topo import wait
from topo.plan import BALANCER, CLIENT, HTTP, SITE

SECONDS = 10.0
#: by when every server has heard that a session has ended
ENDED_SECONDS = 3.0
LOGGED_IN = 'action="/logout"'
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass(frozen=True)
class WebAnswer:
    """One answer; ``headers`` in their order, names in lower case. ``cookies``: what ``Set-Cookie`` says of each."""

    what: str
    status: int
    headers: Sequence[tuple[str, str]]
    body: str = field(repr=False)

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def cookies(self) -> Sequence[str]:
        return [value for key, value in self.headers if key == "set-cookie"]

    @property
    def logged_in(self) -> bool:
        return LOGGED_IN in self.body


@dataclass(frozen=True)
class SiteVisit:
    """The answers by what was asked. ``before`` and ``after`` the log-in: the session's cookie."""

    answers: Mapping[str, WebAnswer]
    before: str
    after: str
    secrets: tuple[SecretValue, ...]


class SiteClient:
    """A browser on the client host: a new connection for each request, one jar of cookies."""

    def __init__(self, testbed: TestbedCore, authority: str) -> None:
        self._client = testbed.inside(testbed.plan.host_of(CLIENT).name)
        self._balancer, self._plan = testbed.plan.host_of(BALANCER), testbed.plan
        self._context = ssl.create_default_context(cadata=authority)
        self.jar: dict[str, str] = {}

    def ask(
        self, what: str, method: str, path: str, form: Mapping[str, str] | None = None, *, tls: bool = True
    ) -> WebAnswer:
        """The answer to a request. Raises OSError."""
        port = self._plan.port(BALANCER if tls else HTTP)
        connection = self._client.connect(port, self._balancer.ip, SECONDS)
        if tls:
            connection = self._context.wrap_socket(connection, server_hostname=SITE)
        with closing(connection):
            http = HTTPConnection(SITE)
            http.sock = connection
            headers = {"Connection": "close", "User-Agent": "foobar-audit"}
            if self.jar:
                headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
            if form is not None:
                headers |= {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"https://{SITE}{path}"}
            http.request(method, path, urlencode(form) if form is not None else None, headers)
            response = http.getresponse()
            received = [(name.lower(), value) for name, value in response.getheaders()]
            answer = WebAnswer(what, response.status, received, response.read().decode(errors="replace"))
        self._keep(answer)
        return answer

    def _keep(self, answer: WebAnswer) -> None:
        for text in answer.cookies:
            for name, morsel in SimpleCookie(text).items():
                self.jar[name] = morsel.value
                if not morsel.value or morsel["max-age"] == "0":
                    del self.jar[name]


def visited(testbed: TestbedCore, secrets: Secrets) -> SiteVisit:
    """Make the visit. Raises OSError, or ValueError where the site is not as it must be."""
    browser = SiteClient(testbed, secrets.authority)
    answers: dict[str, WebAnswer] = {}

    def ask(what: str, method: str, path: str, form: Mapping[str, str] | None = None, *, tls: bool = True) -> WebAnswer:
        answers[what] = browser.ask(what, method, path, form, tls=tls)
        return answers[what]

    user = {"name": f"audit-{random.token_hex(6)}", "password": f"Pw-{random.token_urlsafe(18)}"}
    ask("plain HTTP", "GET", "/", tls=False)
    ask("home page", "GET", "/")
    ask("static file", "GET", "/static/style.css")
    ask("page that is missing", "GET", "/no-such-page")
    form = ask("sign-up page", "GET", "/signup")
    ask("sign-up", "POST", "/signup", form={**user, "csrf_token": _token(form)})
    form = ask("log-in page", "GET", "/login")
    before = ";".join(browser.jar.values())
    ask("log-in without a token", "POST", "/login", form=user)
    done = ask("log-in", "POST", "/login", form={**user, "csrf_token": _token(form)})
    if done.status != 303:
        raise ValueError(f"the log-in was answered with status {done.status}")
    stolen, after = dict(browser.jar), ";".join(browser.jar.values())
    form = ask("page of one who is logged in", "GET", "/messages")
    ask("post without a token", "POST", "/messages", form={"message": "forged by another site"})
    ask("log-out", "POST", "/logout", form={"csrf_token": _token(form)})
    browser.jar = stolen
    _until_ended(browser, answers)
    cookies = (SecretValue("the cookie of a session", value) for value in stolen.values())
    own = (SecretValue("the password of a visitor", user["password"]), *cookies)
    return SiteVisit(answers, before, after, own)


def _until_ended(browser: SiteClient, answers: dict[str, WebAnswer]) -> None:
    """The old cookie once more: a server may not have heard of the log-out at once."""
    end, kept = monotonic() + ENDED_SECONDS * wait.patience(), dict(browser.jar)
    while True:
        browser.jar = dict(kept)
        answers["cookie after the log-out"] = browser.ask("cookie after the log-out", "GET", "/messages")
        if not answers["cookie after the log-out"].logged_in or monotonic() > end:
            return
        sleep(0.1)


def _token(page: WebAnswer) -> str:
    found = _TOKEN.search(page.body)
    if not found:
        raise ValueError(f"the {page.what} has no token against forged requests (status {page.status})")
    return found[1]
