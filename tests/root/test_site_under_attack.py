"""The site under attack, as honest visitors meet it, with limits and without; and malformed requests to all of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from runningtestbed import PROJECT, Commands, RunningTestbed

from services.haproxy import Limits
from topo import wait
from topo.plan import SITE

pytestmark = [pytest.mark.root, pytest.mark.alone]
PYTHON = ("env", f"PYTHONPATH={PROJECT}:{PROJECT}/tests", sys.executable)
SIEGE = (*PYTHON, str(PROJECT / "tests" / "root" / "siege.py"))
SECONDS, RATE = "8", "30"
WORSE = 3  # times the latency in calm
CALM_MS = 100  # and what that is at most
REQUESTS = int(os.environ.get("FOOBAR_REQUESTS", "800"))


@pytest.fixture(scope="module")
def limited(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("limited", "--profile", "hardened")
    shared_commands("down", "limited")


@pytest.fixture(scope="module")
def unlimited(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("unlimited", "--profile", "hardened", "--limits", "off")
    shared_commands("down", "unlimited")


def sessions(bed: RunningTestbed, count: int = 2) -> str:
    """Accounts, logged in; again if that fails: an attack that has just ended may still keep the site busy."""
    made = ""

    def log_in() -> str | None:
        nonlocal made
        done = bed.exec("client", *PYTHON, "-m", "experiments.instruments.generator", "log-in", str(count))
        made = done.stdout
        return done.stderr if done.returncode else None

    wait.until(log_in, what="accounts", seconds=60)
    return made


def visited(bed: RunningTestbed, accounts: str, attack: str = "") -> tuple[dict[str, Any], dict[str, int]]:
    """The outcome of an honest visitor's requests, and the attacker's, whose attack begins before and ends after."""
    visit = (*SIEGE, "visit", SECONDS, RATE, accounts)
    if not attack:
        return json.loads(bed.run("client", *visit)), {}
    long = str(int(SECONDS) + 6)
    with bed.commands.popen("exec", "--name", bed.name, "attacker", "--", *SIEGE, attack, long) as attacker:
        seen = json.loads(bed.run("client", *visit))
        output, errors = attacker.communicate(timeout=60)
        assert attacker.returncode == 0, errors
    return seen, json.loads(output)


@pytest.mark.parametrize("attack", ["passwords", "bodies", "idle", "all"])
def test_with_limits_visitors_notice_nothing(limited: RunningTestbed, attack: str) -> None:
    """A round counts if the machine was calm before and after: on one that others load, everybody waits anyway."""
    accounts = sessions(limited)
    # one in a hundred of 240 requests is two or three: a slow round is believed at its second repetition
    slow: list[object] = []
    calm, _ = visited(limited, accounts)
    for _ in range(6):
        seen, done = visited(limited, accounts, attack)
        before, (calm, _) = calm, visited(limited, accounts)
        print(json.dumps({"before": before, attack: seen, "after": calm, "attacker": done}))
        slowest = max(before["p99_ms"], calm["p99_ms"])
        if before["failed"] or calm["failed"] or slowest > CALM_MS:
            continue
        assert done, "nothing was attacked"
        assert seen["failed"] == 0, (before, seen, calm, done)
        if seen["p99_ms"] <= WORSE * slowest:
            return
        slow.append((before, seen, calm, done))
        assert len(slow) < 3, slow
    pytest.skip("the machine is too busy for anything to be said")


def test_an_address_may_hold_so_many_connections(limited: RunningTestbed) -> None:
    """And no more, of all that the attacker opens."""
    seen = limited.exec("attacker", *SIEGE, "idle", "6")
    assert 0 < json.loads(seen.stdout)["idle at once"] <= Limits().connections, seen


def test_somebody_can_log_in_while_others_guess(limited: RunningTestbed) -> None:
    words = ("exec", "--name", limited.name, "attacker", "--", *SIEGE, "passwords", "10")
    with limited.commands.popen(*words) as attacker:
        limited.run("client", *PYTHON, "-m", "experiments.instruments.generator", "log-in", "1")
        output, errors = attacker.communicate(timeout=60)
    done = json.loads(output)
    assert done["password 429"] > done.get("password 401", 0), (done, errors)
    states = limited.status()["services"]
    assert {row["state"] for row in states} == {"ready"}, states


@pytest.mark.parametrize("attack", ["idle", "passwords"])
def test_without_limits_one_address_shuts_everybody_out(unlimited: RunningTestbed, attack: str) -> None:
    accounts = sessions(unlimited)
    calm, _ = visited(unlimited, accounts)
    assert calm["failed"] == 0, calm
    seen, done = visited(unlimited, accounts, attack)
    assert seen["failed"] > 0, (seen, done)


def test_a_session_ends_for_its_copies_too(limited: RunningTestbed) -> None:
    """The copy is used at each server, and its owner's log-out is one write to the primary."""
    said = limited.run("client", *PYTHON, "-c", COPY, SITE)
    assert json.loads(said) == {"before": 201, "after": [401] * 6, "shown": False}


COPY = """
import json, sys, httpx
from experiments.instruments.generator import log_in
(session,), site = log_in(1), f"https://{sys.argv[1]}"
client = httpx.Client(base_url=site, verify="/etc/ssl/certs/ca-certificates.crt", headers={
    "Cookie": session["cookie"], "Referer": f"{site}/messages", "X-CSRFToken": session["token"]})
post = lambda: client.post("/messages", json={"message": "me"}, headers={"Accept": "application/json"}).status_code
before = post()
client.post("/logout", data={"csrf_token": session["token"]})
client.cookies.clear()
print(json.dumps({"before": before, "after": [post() for _ in range(6)], "shown": "Log out" in client.get("/").text}))
"""


def test_guesses_at_one_account_are_counted_over_all_servers(limited: RunningTestbed) -> None:
    said = json.loads(limited.run("client", *PYTHON, "-c", GUESS, SITE))
    assert said["wrong"] == [401] * 10
    assert said["right"] == [429, True], "the right password came after too many wrong ones"
    assert len(said["servers"]) > 1


GUESS = """
import json, sys, secrets
from experiments.instruments.visit import Browser
site, account = f"https://{sys.argv[1]}", {"name": f"guessed-{secrets.token_hex(4)}", "password": "correct horse"}
servers, statuses = set(), []

def attempt(browser, form, **typed):
    fields = {**form.fields, **typed}
    answer = browser.client.post(f"{site}/login", data=fields, headers={"Referer": f"{site}/login"})
    servers.add(answer.headers["X-Served-By"])
    return answer

browser = Browser()
form = browser.submit(browser.open(f"{site}/signup").form_with("password"), **account).form_with("password")
wrong = [attempt(browser, form, **{**account, "password": f"wrong horse {n}"}).status_code for n in range(10)]
last = attempt(browser, form, **account)
right = [last.status_code, "Too many wrong passwords" in last.text]
print(json.dumps({"wrong": wrong, "right": right, "servers": sorted(servers)}))
"""


def test_malformed_requests_are_answered_and_never_with_500(limited: RunningTestbed) -> None:
    before = [row["pid"] for row in limited.status()["services"]]
    done = limited.exec("client", *SIEGE, "fuzz", str(REQUESTS), sessions(limited, 1), seconds=600)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sum(said["statuses"].values()) == REQUESTS
    assert said["odd"] == [], said["statuses"]
    # a server that a busy machine keeps from answering its checks is taken out with what it holds
    assert sum(said["statuses"].get(status, 0) for status in ("502", "503", "504")) <= REQUESTS / 50, said["statuses"]
    assert [row["pid"] for row in limited.status()["services"]] == before


def test_no_redirect_believes_the_host(limited: RunningTestbed) -> None:
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", "-H", "Host: evil", f"http://{SITE}/messages")
    assert limited.run("client", *curl) == f"https://{SITE}/messages"


def test_curves_outside_the_profile_are_refused(limited: RunningTestbed) -> None:
    for curve, agreed in (("X25519", True), ("P-256", True), ("X448", False), ("P-521", False)):
        done = limited.exec("attacker", "openssl", "s_client", "-connect", f"{SITE}:443", "-groups", curve, input="")
        assert (done.returncode == 0) is agreed, curve
