"""Honest visitors, as a site sees them: each visit asks, is answered, and asks again by what the answer said. Pure.

A visit is a generator of ``Ask``s that is sent ``SiteAnswer``s, so it needs neither a network nor a clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlencode, urljoin, urlsplit

from experiments.instruments.visit import Page, PageForm
from topo.plan import SITE

ADDRESS = f"https://{SITE}"
REDIRECTS = (301, 302, 303, 307, 308)
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
CRAWLER = "Mozilla/5.0 (compatible; ExampleBot/1.0; +http://search.example/bot)"
READER = "FeedReader/3.2"
LINK = re.compile(r'<a [^>]*href="([^"#]+)')
MOST_LINKS = 12

TEXTS = (
    "Good morning everybody!",
    "Is the O'Brien lecture at 9 or at 10?",
    "Größe, Maße und Öl: das sind drei schöne Wörter.",
    "I said \"no\", and then 'perhaps'.",
    "Please select a seat from the table and order by name.",
    "Where do I drop my key? The union office is closed.",
    "for i in range(10): print(i * i)",
    "a < b and b > c; so a && c?",
    "50 % off, only today -- really.",
    "El niño comió piñas en el café.",
    "1 = 1 is true, 1 = 2 is not.",
    "See /etc/hosts for the names, and ../README for the rest.",
    "\U0001f600 what a day \U0001f389",
    "Line one\nLine two\n\nLine four",
    "SELECT is a word that I like; DELETE is not.",
    "if (x != null && y || z) { return; }",
    "Could somebody update the wiki where it says 'insert coin'?",
    "Ça va? Très bien, merci!",
    "R&D; Q&A; AT&T",
    "It costs $5 or 4,50 €; that's #1.",
)
LOST = ("/apple-touch-icon.png", "/favicon.ico", "/feed.xml", "/old/index.html")


@dataclass(frozen=True)
class Ask:
    """One request, with the body of a form if there is one."""

    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SiteAnswer:
    """The answer to it."""

    status: int
    text: str = ""
    location: str = ""


Visit = Generator[Ask, SiteAnswer, None]
Shown = Generator[Ask, SiteAnswer, Page]


class HonestBrowser:
    """Shows pages: follows redirects, and loads what a page refers to and has not been loaded."""

    def __init__(self, agent: str = BROWSER) -> None:
        self._headers = {"User-Agent": agent, "Accept": "text/html,*/*;q=0.8", "Accept-Language": "en,de;q=0.5"}
        self._loaded: set[str] = set()
        self.at = "/"
        self.text = ""

    def open(self, path: str) -> Shown:
        answer = yield self.ask("GET", path)
        return (yield from self._shown(path, answer))

    def submit(self, form: PageForm, **filled: str) -> Shown:
        path = _local(urljoin(ADDRESS + self.at, form.action))
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": ADDRESS}
        answer = yield self.ask("POST", path, urlencode({**form.fields, **filled}), **sent)
        return (yield from self._shown(path, answer))

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Ask:
        return Ask(method, path, body, {**self._headers, "Referer": ADDRESS + self.at, **headers})

    def _shown(self, path: str, answer: SiteAnswer) -> Shown:
        while answer.status in REDIRECTS:
            path = _local(urljoin(ADDRESS + path, answer.location))
            answer = yield self.ask("GET", path)
        self.at, self.text = path, answer.text
        page = Page(answer.text)
        for asset in dict.fromkeys(_local(urljoin(ADDRESS + path, asset)) for asset in page.assets):
            if asset not in self._loaded:
                self._loaded.add(asset)
                yield self.ask("GET", asset)
        return page


def _local(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


# --- who comes -----------------------------------------------------------------------------------------------------


def reader(random: Random, tag: str) -> Visit:  # noqa: ARG001 - as the others
    """Somebody who looks around and says nothing."""
    browser = HonestBrowser()
    yield from browser.open("/")
    for _ in range(random.randrange(1, 6)):
        yield from browser.open(random.choice(("/messages", "/messages", "/", "/login", "/signup")))


def member(random: Random, tag: str, forgotten: int = 0) -> Visit:
    """Somebody who signs up, logs in, writes and leaves."""
    browser = HonestBrowser()
    name, password = f"v-{tag}", f"{random.getrandbits(60):x}'\" äß"
    yield from browser.open("/")
    signup = yield from browser.open("/signup")
    board = yield from browser.submit(signup.form_with("password"), name=name, password=password)
    for number in range(forgotten):
        board = yield from browser.submit(board.form_with("password"), name=name, password=f"{password}{number}")
    board = yield from browser.submit(board.form_with("password"), name=name, password=password)
    for _ in range(random.randrange(1, 4)):
        board = yield from browser.submit(board.form_with("message"), message=random.choice(TEXTS))
    yield from browser.submit(board.form_to("/logout"))


def forgetful(random: Random, tag: str) -> Visit:
    """A member who remembers the password at the third attempt."""
    yield from member(random, tag, forgotten=2)


def crawler(random: Random, tag: str) -> Visit:  # noqa: ARG001
    """A search engine's crawler: it reads robots.txt, follows links, and comes back for pages that are no more."""
    browser = HonestBrowser(CRAWLER)
    yield browser.ask("GET", "/robots.txt")
    todo, done = ["/"], set[str]()
    while todo and len(done) < MOST_LINKS:
        path = todo.pop(0)
        done.add(path)
        yield browser.ask("HEAD", path)
        yield from browser.open(path)
        links = [_local(urljoin(ADDRESS + browser.at, link)) for link in LINK.findall(browser.text)]
        todo += [link for link in dict.fromkeys(links) if link not in done and link not in todo]
    yield browser.ask("GET", random.choice(LOST))


def misconfigured(random: Random, tag: str) -> Visit:  # noqa: ARG001
    """A program whose address book is out of date: it asks for a file that is not there, and never learns."""
    browser = HonestBrowser(READER)
    for _ in range(random.randrange(1, 4)):
        yield browser.ask("GET", "/feed.xml")


#: who comes how often, among those who have no account
PASSERS_BY: Mapping[Callable[[Random, str], Visit], int] = {reader: 20, crawler: 1, misconfigured: 2}
#: and among those who have one
MEMBERS: Mapping[Callable[[Random, str], Visit], int] = {member: 3, forgetful: 1}


def drawn(among: Mapping[Callable[[Random, str], Visit], int], random: Random) -> Callable[[Random, str], Visit]:
    """One of them, by their weights."""
    return random.choices(list(among), list(among.values()))[0]
