"""``--waf on`` on a real testbed: honest visitors notice nothing, an attack is refused, and both say why."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest
from runningtestbed import PROJECT, Commands, RunningTestbed

from topo import wait
from topo.plan import SITE

pytestmark = pytest.mark.root
PYTHON = ("env", f"PYTHONPATH={PROJECT}:{PROJECT}/tests", sys.executable)
URL = f"https://{SITE}"
REQUESTS = 300
TEXTS = (
    "Grüße aus Köln: „schöne Straße“, sagte O'Brien.",
    "SELECT * FROM users WHERE name = 'x' OR 1=1; -- so \"easy\"",
    "for (i = 0; i < n; i++) { if (a[i] && b) run(`id`, $(pwd)); }",
    "👋🏽 日本語 العربية русский",
    "long " * 99,
)
PASSWORD = '\'; DROP TABLE users;-- <script>alert("Ü")</script> ../../etc/passwd 漢'


@pytest.fixture(scope="module")
def shielded(shared_commands: Commands) -> Iterator[RunningTestbed]:
    yield shared_commands.up("shielded", "--waf", "on", "--monitoring", "on", "--tls", "mutual")
    shared_commands("down", "shielded")


def attack(bed: RunningTestbed, *words: str) -> tuple[int, str, str]:
    """The attacker's request: the status of the answer, its request id, and the answer."""
    said = bed.run("attacker", "curl", "-sSi", "--max-time", "10", *words)
    number = re.search(r"^x-request-id: (\S+)", said, re.M | re.I)
    return int(said.split()[1]), number[1] if number else "", said


def test_a_visitor_with_quotes_umlauts_code_and_an_unusual_password_notices_nothing(shielded: RunningTestbed) -> None:
    visit = (*PYTHON, "-m", "experiments.instruments.visit", f"{URL}/", "anne-marie_7", PASSWORD, *TEXTS)
    shown = json.loads(shielded.run("client", *visit))["shown"]
    assert shown["has_message"]
    assert shown["has_name"]


def test_an_answer_of_the_site_is_as_it_was(shielded: RunningTestbed) -> None:
    """What writes into nginx's own pages leaves the site's alone."""
    said = shielded.run("client", "curl", "-sSi", "--http1.1", f"{URL}/login").lower()
    assert "content-length: " in said
    assert "firewall" not in said
    assert said.count("cache-control: ") == 1


def test_an_attack_is_refused_and_both_ends_can_say_why(shielded: RunningTestbed) -> None:
    status, number, page = attack(shielded, f"{URL}/messages?before=1%27+or+1")
    assert status == 403
    assert number
    assert f"<code>{number}</code>" in page
    assert "firewall of this site has refused" in page
    why = shielded.commands("waf", "why", "--json", "--name", shielded.name, number)
    told = json.loads(why.stdout)
    attacker = shielded.run("attacker", "hostname", "-I").split()[0]
    assert (told["client"], told["target"], told["matched"]) == (attacker, "ARGS:before", "1' or 1")
    assert told["code"] == 403

    def stored() -> str | None:
        done = shielded.commands("logs", "--name", shielded.name, "--request", number, "--json")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert not any(row["service"] == "app" for row in rows)
        found = [row for row in rows if row["file"].endswith("waf.log")]
        return None if found and "ARGS:before" in found[0]["text"] else f"mon has {rows}"

    wait.until(stored, what="the refusal on mon", seconds=15)


def test_scripts_in_a_text_are_refused_before_the_site_sees_them(shielded: RunningTestbed) -> None:
    status, number, _ = attack(shielded, "-d", "message=<script>alert(1)</script>", f"{URL}/messages")
    assert status == 403
    assert shielded.commands("waf", "why", "--name", shielded.name, number).stdout.startswith("refused with 403: ")


def test_what_nobody_refused_has_no_reason(shielded: RunningTestbed) -> None:
    status, number, _ = attack(shielded, f"{URL}/")
    assert status == 200
    why = shielded.commands("waf", "why", "--name", shielded.name, number)
    assert (why.returncode, why.stderr) == (
        2,
        f"foobar: waf why {number}: no server has refused such a request\n",
    )


def test_static_files_are_not_judged(shielded: RunningTestbed) -> None:
    """A negative control too: the same words that are refused elsewhere."""
    assert attack(shielded, f"{URL}/static/style.css?before=1%27+or+1")[0] == 200
    assert attack(shielded, f"{URL}/?before=1%27+or+1")[0] == 403


def test_malformed_requests_are_answered_and_never_with_500(shielded: RunningTestbed) -> None:
    account = shielded.run("client", *PYTHON, "-m", "experiments.instruments.generator", "log-in", "1")
    siege = (*PYTHON, str(PROJECT / "tests" / "root" / "siege.py"), "fuzz", str(REQUESTS), account)
    said = json.loads(shielded.run("client", *siege))
    assert said["odd"] == [], said["statuses"]
    assert said["statuses"].get("403", 0) > REQUESTS / 10
    assert shielded.status()["steady"]
