"""The message board: its pages with a store in memory, its MariaDB store with a scripted connection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from jinja2.bccache import Bucket, BytecodeCache
from judgedclient import JudgedClient
from werkzeug.test import TestResponse

from services.site import config, failures, gtid, inputs, requestid, sqlstore
from services.site.app import create_app, tone
from services.site.exceptions import Busy, ConfigError, KeyReused, NameTaken, StoreUnavailable, UnknownUser
from services.site.link import DatabaseLink, opener
from services.site.memorystore import MemoryStore
from services.site.passwords import METHOD, HashQueue, Passwords
from services.site.sqlstore import MariaDBStore
from services.site.store import Caller, Store, Written
from topo import wait

SITE = "https://www.foobar.com"
COOKIE = "__Host-session"
PASSWORD = "correct horse"
JSON = {"Accept": "application/json"}
SETTINGS: dict[str, Any] = {
    "server": "srv2",
    "secret_key": "a secret of the tests",
    "read": {"unix_socket": "/run/db.sock", "user": "app_read", "password": "r"},
    "write": {"host": "10.0.2.10", "port": 3306, "user": "app_write", "password": "w"},
}


class Compiled(BytecodeCache):
    """Templates, compiled once for all applications of the tests."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.known:
            bucket.bytecode_from_string(self.known[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.known[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


def site(store: Store, **changes: Any) -> Flask:
    settings = {**SETTINGS, "password_method": "pbkdf2:sha256:1", **changes}
    app = create_app(config.parse(settings), store)
    app.jinja_env.bytecode_cache = COMPILED
    app.test_client_class = JudgedClient
    app.add_url_rule("/broken", "broken", lambda: str(1 // 0))
    return app


class FormClient:
    """A client that keeps cookies, sends a Referer and fills in the hidden fields of a page's form."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, base_url=SITE, headers=headers)

    def hidden(self, page: str, field: str) -> str:
        found = re.search(rf'name="{field}" value="([^"]*)"', self.get(page).text)
        assert found, f"{page} has no field {field}"
        return unescape(found[1])

    def send(self, path: str, page: str, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        if "csrf_token" not in fields:
            fields["csrf_token"] = self.hidden(page, "csrf_token")
        sent = {"Referer": f"{SITE}{page}", **(headers or {})}
        return self.client.post(path, base_url=SITE, data=fields, headers=sent)

    def sign_up(self, name: str = "alice", password: str = PASSWORD) -> TestResponse:
        return self.send("/signup", "/signup", name=name, password=password)

    def log_in(self, name: str = "alice", password: str = PASSWORD) -> TestResponse:
        return self.send("/login", "/login", name=name, password=password)

    def post(self, message: str, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        return self.send("/messages", "/messages", headers, message=message, **fields)

    @property
    def session(self) -> dict[str, Any]:
        with self.client.session_transaction(base_url=SITE) as session:
            return dict(session)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def app(store: MemoryStore) -> Flask:
    return site(store)


@pytest.fixture
def browser(app: Flask) -> FormClient:
    return FormClient(app)


@pytest.fixture
def alice(browser: FormClient) -> FormClient:
    """Alice's browser, logged in."""
    browser.sign_up()
    browser.log_in()
    return browser


class TestAccounts:
    def test_a_stranger_joins_posts_and_leaves(self, browser: FormClient) -> None:
        assert browser.sign_up().location == "/login?name=alice"
        assert browser.log_in().location == "/messages"
        assert browser.post("Hello, board").status_code == 303
        assert "Hello, board" in browser.get("/messages").text
        assert browser.send("/logout", "/messages").status_code == 303
        assert "Log out" not in browser.get("/messages").text
        assert browser.send("/messages", "/login", message="me again").location == "/login"

    @pytest.mark.parametrize(("name", "password"), [("alice", "wrong horse"), ("nobody", PASSWORD), ("é", "x")])
    def test_a_wrong_login_does_not_tell_what_was_wrong(self, browser: FormClient, name: str, password: str) -> None:
        browser.sign_up()
        answer = browser.log_in(name, password)
        assert answer.status_code == 401
        assert "That name and password do not go together." in answer.text
        assert "id" not in browser.session

    def test_a_name_is_taken_in_any_case(self, browser: FormClient) -> None:
        browser.sign_up()
        assert browser.sign_up("ALICE").status_code == 409
        assert browser.sign_up("alicia").status_code == 303

    @pytest.mark.parametrize(
        ("name", "password", "says"),
        [
            ("al", PASSWORD, "A name has 3 to 32 characters."),
            ("a" * 33, PASSWORD, "A name has 3 to 32 characters."),
            ("al ice", PASSWORD, "letters a-z"),
            ("alicé", PASSWORD, "letters a-z"),
            ("alice", "x" * 7, "A password has 8 to 128 characters."),
            ("alice", "wxyz" * 32 + "w", "A password has 8 to 128 characters."),
            ("alice-in-w", "alice-in-w", "4 different characters beside the name"),
            ("alice", "aliceALICE", "4 different characters beside the name"),
            ("alice", "123 Alice", "4 different characters beside the name"),
            ("alice", " " * 8, "4 different characters beside the name"),
            ("alice", "xyzxyzxyz", "4 different characters beside the name"),
        ],
    )
    def test_limits_are_explained(
        self, browser: FormClient, store: MemoryStore, name: str, password: str, says: str
    ) -> None:
        answer = browser.sign_up(name, password)
        assert answer.status_code == 422
        assert says in answer.text
        assert not store.users

    @pytest.mark.parametrize(("name", "password"), [("abc", "wxyzwxyz"), ("a" * 32, "wxyz" * 32), ("a_B-9", PASSWORD)])
    def test_the_limits_themselves_are_allowed(self, browser: FormClient, name: str, password: str) -> None:
        assert browser.sign_up(name, password).status_code == 303

    def test_a_look_at_a_form_checks_no_password(self, browser: FormClient, store: MemoryStore) -> None:
        for page in ("/login", "/signup"):
            assert browser.client.head(page, base_url=SITE).status_code == 200
        assert not store.calls

    def test_passwords_are_hashed(self, alice: FormClient, store: MemoryStore) -> None:
        assert PASSWORD not in store.users[0].password_hash

    def test_a_session_begins_anew_at_login(self, browser: FormClient) -> None:
        browser.sign_up()
        with browser.client.session_transaction(base_url=SITE) as session:
            session["planted"] = "by somebody else"
        before = browser.session["csrf_token"]
        browser.log_in()
        assert "planted" not in browser.session
        assert browser.session.get("csrf_token") != before

    def test_an_account_the_database_lost_is_logged_out(self, alice: FormClient, store: MemoryStore) -> None:
        store.users.clear()
        assert alice.post("anybody there?").location == "/login"
        assert "id" not in alice.session


class TestPasswords:
    def test_the_method_is_one_that_owasp_lists(self) -> None:
        assert METHOD == "scrypt:8192:8:10"

    def test_a_hash_matches_its_password_only(self) -> None:
        passwords = Passwords()
        known = passwords.hash(PASSWORD)
        assert known.startswith(METHOD)
        assert passwords.match(known, PASSWORD)
        assert not passwords.match(known, PASSWORD + "!")

    def test_nobody_costs_as_much_and_never_matches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        methods: list[str] = []

        def record(method: str, salt: str, password: str) -> tuple[str, str]:
            methods.append(method)
            return "00" * 64, method

        monkeypatch.setattr("werkzeug.security._hash_internal", record)
        passwords = Passwords()
        assert not passwords.match(None, PASSWORD)
        assert passwords.match(f"{METHOD}$salt$" + "00" * 64, PASSWORD)
        assert methods == [METHOD, METHOD]


class TestCookie:
    def test_its_flags(self, browser: FormClient) -> None:
        browser.sign_up()
        header = browser.log_in().headers["Set-Cookie"]
        name, *flags = header.split("; ")
        assert name.startswith(f"{COOKIE}=")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(flags)
        assert not any(flag.startswith("Domain") for flag in flags)
        assert any(flag.startswith("Expires") for flag in flags)

    def test_a_forged_one_is_nobody(self, alice: FormClient) -> None:
        assert "Log out" in alice.get("/").text
        value = alice.client.get_cookie(COOKIE, domain="www.foobar.com")
        assert value is not None
        alice.client.set_cookie(COOKIE, value.value[:-2] + "xx", domain="www.foobar.com", secure=True)
        assert "Log out" not in alice.get("/").text

    def test_any_server_with_the_same_key_takes_it(self, alice: FormClient, store: MemoryStore) -> None:
        cookie = alice.client.get_cookie(COOKIE, domain="www.foobar.com")
        assert cookie is not None
        for key, known in ((SETTINGS["secret_key"], True), ("another secret entirely", False)):
            elsewhere = FormClient(site(store, server="srv3", secret_key=key))
            elsewhere.client.set_cookie(COOKIE, cookie.value, domain="www.foobar.com", secure=True)
            assert ("Log out" in elsewhere.get("/").text) is known

    def test_reading_without_an_account_sets_none(self, browser: FormClient) -> None:
        assert "Set-Cookie" not in browser.get("/").headers
        assert "Set-Cookie" in browser.get("/login").headers

    def test_a_copy_of_it_is_worth_nothing_after_logging_out(self, alice: FormClient, store: MemoryStore) -> None:
        """On any server; what the local database does not know yet, the primary refuses."""
        thief = FormClient(site(store, server="srv3"))
        stolen = alice.client.get_cookie(COOKIE, domain="www.foobar.com")
        assert stolen is not None
        thief.client.set_cookie(COOKIE, stolen.value, domain="www.foobar.com", secure=True)
        token = thief.hidden("/messages", "csrf_token")
        assert thief.post("before", csrf_token=token).location == "/messages"
        alice.send("/logout", "/messages")
        assert "Log out" not in thief.get("/").text
        assert thief.post("after", csrf_token=token).location == "/login"
        assert [message.text for message in store.posted] == ["before"]
        alice.log_in()
        assert alice.post("again").location == "/messages"

    def test_who_cannot_be_logged_out_is_told(self, alice: FormClient, store: MemoryStore) -> None:
        token = alice.hidden("/messages", "csrf_token")
        store.down = True
        assert alice.send("/logout", "/messages", csrf_token=token).status_code == 503
        assert "id" in alice.session
        store.down = False
        assert alice.send("/logout", "/messages", csrf_token=token).status_code == 303


class TestLimits:
    """Against guessing, and against those who make the servers do nothing but check passwords."""

    @pytest.fixture
    def app(self, store: MemoryStore) -> Flask:
        return site(store, limits=True)

    def test_guesses_at_an_account_are_counted_over_all_servers(
        self, app: Flask, browser: FormClient, store: MemoryStore
    ) -> None:
        browser.sign_up()
        browser.sign_up("bob")
        for guess in range(inputs.GUESSES):
            server = FormClient(site(store, server=f"srv{guess % 3}", limits=True))
            assert server.log_in("ALICE", "wrong horse").status_code == 401
        refused = browser.log_in()
        assert (refused.status_code, "Too many wrong passwords" in refused.text) == (429, True)
        assert browser.log_in("bob").status_code == 303

    def test_a_right_one_begins_anew(self, browser: FormClient) -> None:
        browser.sign_up()
        for _ in range(3):
            for _ in range(inputs.GUESSES - 1):
                assert browser.log_in(password="wrong horse").status_code == 401
            assert browser.log_in().status_code == 303

    def test_without_limits_anybody_may_guess(self, store: MemoryStore) -> None:
        browser = FormClient(site(store))
        browser.sign_up()
        assert {browser.log_in(password="wrong horse").status_code for _ in range(inputs.GUESSES + 5)} == {401}
        assert browser.log_in().status_code == 303

    def test_few_wait_for_a_hash_and_the_others_are_told_at_once(self) -> None:
        queue, go = HashQueue(), threading.Event()
        with ThreadPoolExecutor(16) as visitors:
            asked = [visitors.submit(queue, lambda: go.wait(10)) for _ in range(16)]
            wait.until(lambda: None if sum(each.done() for each in asked) == 12 else "-", what="refusals", seconds=10)
            go.set()
        assert sum(isinstance(each.exception(), Busy) for each in asked) == 16 - 1 - HashQueue.WAITING

    def test_a_full_queue_is_429(self, browser: FormClient, monkeypatch: pytest.MonkeyPatch) -> None:
        browser.sign_up()
        monkeypatch.setattr(HashQueue, "__call__", lambda *_: raised(Busy()))
        answer = browser.log_in()
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")
        assert browser.get("/healthz").status_code == 200

    def test_a_hash_steps_back_for_everything_else(self) -> None:
        queue = HashQueue()
        nice = queue(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        assert nice == min(19, os.getpriority(os.PRIO_PROCESS, 0) + HashQueue.NICE)


def raised(error: Exception) -> None:
    raise error


class TestForgery:
    @pytest.mark.parametrize("path", ["/signup", "/login", "/logout", "/messages"])
    def test_no_token_no_change(self, alice: FormClient, store: MemoryStore, path: str) -> None:
        calls = [method for method, _ in store.calls]
        answer = alice.client.post(path, base_url=SITE, headers={"Referer": f"{SITE}/"}, data={"message": "x"})
        assert answer.status_code == 400
        assert "This form is too old" in answer.text
        assert [method for method, _ in store.calls if method != "has_ended"] == calls
        assert "id" in alice.session

    def test_another_sessions_token_is_refused(self, app: Flask, alice: FormClient) -> None:
        theirs = FormClient(app).hidden("/login", "csrf_token")
        assert alice.post("x", csrf_token=theirs).status_code == 400
        assert alice.post("x").status_code == 303

    @pytest.mark.parametrize("referer", ["https://evil.example/", "http://www.foobar.com/", ""])
    def test_the_referer_must_be_this_site(self, alice: FormClient, referer: str) -> None:
        assert alice.post("x", {"Referer": referer}).status_code == 400
        assert alice.post("x", {"Referer": f"{SITE}/messages"}).status_code == 303

    def test_a_program_may_send_the_token_in_a_header(self, alice: FormClient) -> None:
        headers = {**JSON, "Referer": f"{SITE}/", "X-CSRFToken": alice.hidden("/messages", "csrf_token")}
        answer = alice.client.post("/messages", base_url=SITE, headers=headers, json={"message": "hi"})
        assert answer.status_code == 201
        headers["X-CSRFToken"] = "wrong"
        answer = alice.client.post("/messages", base_url=SITE, headers=headers, json={"message": "hi"})
        assert answer.status_code == 400
        assert answer.json is not None
        assert "error" in answer.json


class TestProxies:
    def seen(self, headers: dict[str, str], **changes: Any) -> tuple[str | None, str]:
        app = site(MemoryStore(), **changes)
        app.add_url_rule("/me", "me", lambda: {"addr": request.remote_addr, "root": request.host_url})
        answer = app.test_client().get("/me", headers=headers).json
        assert answer is not None
        return answer["addr"], answer["root"]

    def test_two_appended_addresses_one_scheme_one_host(self) -> None:
        headers = {
            "X-Forwarded-For": "6.6.6.6, 198.51.100.7, 10.0.2.10",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "www.foobar.com",
        }
        assert self.seen(headers) == ("198.51.100.7", f"{SITE}/")

    def test_the_counts_are_settings(self) -> None:
        headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7", "X-Forwarded-Proto": "https"}
        assert self.seen(headers, hops={"for": 1, "proto": 0}) == ("198.51.100.7", "http://localhost/")


class TestMessages:
    def test_markup_is_shown_not_obeyed(self, alice: FormClient) -> None:
        alice.post("<script>alert(1)</script>")
        for page in ("/", "/messages"):
            text = alice.get(page).text
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text

    def test_a_name_in_the_address_cannot_break_out(self, browser: FormClient) -> None:
        text = browser.get('/login?name="><script>alert(1)</script>').text
        assert "<script>alert" not in text

    def test_no_page_needs_an_inline_script_or_style(self, alice: FormClient) -> None:
        alice.post("hello")
        for page in ("/", "/messages", "/login", "/signup", "/nowhere"):
            text = alice.get(page).text
            assert not re.search(r"<style|<script(?! src=)|\sstyle=|\son\w+=|javascript:", text)
            assert '<script src="/static/app.js"' in text

    @pytest.mark.parametrize(
        ("text", "status", "says"),
        [
            ("", 422, "Write something first."),
            (" \r\n ", 422, "Write something first."),
            ("x" * 501, 422, "this one has 501"),
            ("x" * 500, 303, ""),
            ("x", 303, ""),
        ],
    )
    def test_length(self, alice: FormClient, text: str, status: int, says: str) -> None:
        answer = alice.post(text)
        assert answer.status_code == status
        assert says in answer.text

    def test_a_browsers_line_ends_count_once(self, alice: FormClient, store: MemoryStore) -> None:
        alice.post("a\r\n" * 249 + "b")
        assert store.posted[0].text == "a\n" * 249 + "b"

    def test_pages_follow_each_other(self, alice: FormClient, store: MemoryStore) -> None:
        for number in range(51):
            store.add_message(Caller(), 1, f"message {number}", "srv1", str(number))
        first = alice.get("/messages", **JSON).json
        assert first is not None
        assert len(first["messages"]) == 50
        second = alice.get(first["older"], **JSON).json
        assert second is not None
        assert [message["text"] for message in second["messages"]] == ["message 0"]
        assert second["older"] is None
        assert 'href="/messages?before=2"' in alice.get("/messages").text

    @pytest.mark.parametrize("before", ["-1", "x", "9" * 19, "²", ""])
    def test_a_page_begins_at_a_number(self, browser: FormClient, before: str) -> None:
        assert browser.get(f"/messages?before={before}").status_code == 400

    def test_half_a_character_is_refused(self) -> None:
        assert inputs.text_problem("\ud800")
        assert not inputs.text_problem("\N{PARTY POPPER}")

    def test_a_flood_is_refused(self, alice: FormClient) -> None:
        assert alice.post("x" * 20_000).status_code == 413


class TestJson:
    def test_posting_and_listing(self, alice: FormClient) -> None:
        posted = alice.post("from a program", JSON)
        assert posted.status_code == 201
        assert posted.json == {"id": 1, "server": "srv2"}
        listed = alice.get("/messages", **JSON)
        assert listed.json is not None
        assert listed.json["server"] == "srv2"
        assert listed.json["messages"][0] | {"created": ""} == {
            "id": 1,
            "author": "alice",
            "text": "from a program",
            "server": "srv2",
            "created": "",
        }
        assert "Accept" in listed.vary

    @pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"])
    def test_browsers_and_curl_get_the_page(self, browser: FormClient, accept: str) -> None:
        assert browser.get("/messages", Accept=accept).mimetype == "text/html"

    def test_errors_are_json_too(self, alice: FormClient, app: Flask) -> None:
        assert alice.post("", JSON).json == {"error": "Write something first."}
        assert alice.get("/nowhere", **JSON).json is not None
        stranger = FormClient(app).send("/messages", "/login", JSON, message="hi")
        assert stranger.status_code == 401
        assert stranger.json == {"error": "Log in to post a message."}

    @pytest.mark.parametrize("body", [[], "text", None, {"message": 7}, {"message": "x", "idempotency_key": 7}])
    def test_odd_bodies_are_refused(self, alice: FormClient, store: MemoryStore, body: Any) -> None:
        headers = {**JSON, "Referer": f"{SITE}/", "X-CSRFToken": alice.hidden("/messages", "csrf_token")}
        answer = alice.client.post("/messages", base_url=SITE, headers=headers, json=body)
        assert answer.status_code in (400, 422)
        assert not store.posted


class TestIdempotency:
    def test_the_same_key_posts_once(self, alice: FormClient, store: MemoryStore) -> None:
        headers = {**JSON, "Idempotency-Key": "key-1"}
        first, second = alice.post("once", headers), alice.post("once", headers)
        assert (first.status_code, first.json) == (second.status_code, second.json)
        assert "Idempotent-Replay" not in first.headers
        assert second.headers["Idempotent-Replay"] == "true"
        assert len(store.posted) == 1

    def test_another_key_or_none_posts_again(self, alice: FormClient, store: MemoryStore) -> None:
        for headers in ({"Idempotency-Key": "key-1"}, {"Idempotency-Key": "key-2"}, {}, {}):
            assert "Idempotent-Replay" not in alice.post("again", headers).headers
        assert len(store.posted) == 4

    def test_a_form_carries_its_own_key(self, alice: FormClient, store: MemoryStore) -> None:
        key = alice.hidden("/messages", "idempotency_key")
        assert key != alice.hidden("/messages", "idempotency_key")
        alice.post("twice", idempotency_key=key)
        assert alice.post("twice", idempotency_key=key).headers["Idempotent-Replay"] == "true"
        assert len(store.posted) == 1

    def test_users_do_not_share_keys(self, app: Flask, alice: FormClient, store: MemoryStore) -> None:
        bob = FormClient(app)
        bob.sign_up("bob")
        bob.log_in("bob")
        for browser in (alice, bob):
            assert "Idempotent-Replay" not in browser.post("mine", {"Idempotency-Key": "shared"}).headers
        assert [message.author for message in store.posted] == ["alice", "bob"]

    def test_the_same_key_with_another_text_is_not_swallowed(self, alice: FormClient) -> None:
        alice.post("first thought", idempotency_key="k")
        answer = alice.post("second thought", idempotency_key="k")
        assert answer.status_code == 422
        assert "second thought</textarea>" in answer.text
        assert 'value="k"' not in answer.text

    @pytest.mark.parametrize(("key", "status"), [("x" * 64, 201), ("x" * 65, 400), ("a b", 400), ("é", 400)])
    def test_a_key_is_short_and_plain(self, alice: FormClient, key: str, status: int) -> None:
        assert alice.post("hi", JSON, idempotency_key=key).status_code == status


class TestPositions:
    """A session's last write goes along with its reads, whichever server they reach."""

    def test_reads_after_a_write_carry_its_gtid(self, browser: FormClient, store: MemoryStore) -> None:
        browser.get("/messages")
        assert store.calls[-1] == ("messages", Caller())
        browser.sign_up()
        browser.log_in()
        assert ("find_user", Caller(gtid="0-1-1")) in store.calls
        browser.post("hello")
        browser.get("/messages")
        assert ("messages", Caller(gtid="0-1-2", session=browser.session["session"])) in store.calls

    def test_it_survives_logging_out(self, alice: FormClient) -> None:
        alice.post("hello")
        alice.send("/logout", "/messages")
        assert alice.session["gtid"] == "0-1-3"
        assert "id" not in alice.session

    def test_other_sessions_are_not_held_up(self, app: Flask, alice: FormClient, store: MemoryStore) -> None:
        alice.post("hello")
        FormClient(app).get("/messages")
        assert store.calls[-1] == ("messages", Caller())

    @pytest.mark.parametrize(
        ("here", "wanted", "covered"),
        [
            ("0-1-5", "0-1-5", True),
            ("0-2-6", "0-1-5", True),
            ("0-1-4", "0-1-5", False),
            ("", "0-1-5", False),
            ("1-1-9", "0-1-5", False),
            ("0-1-5,1-2-3", "1-2-3,0-1-5", True),
            ("0-1-5,1-2-2", "1-2-3,0-1-5", False),
        ],
    )
    def test_a_position_covers_all_before_it(self, here: str, wanted: str, covered: bool) -> None:
        assert gtid.covers(here, wanted) is covered

    @pytest.mark.parametrize("text", ["", "x", "0-1", "0-1-2'", "0-1-2,", "0-1-2 "])
    def test_only_positions_are_positions(self, text: str) -> None:
        assert not gtid.is_position(text)
        assert gtid.is_position("0-1-2,1-1-7")


class TestHeaders:
    @pytest.mark.parametrize(
        ("path", "status"),
        [("/", 200), ("/nowhere", 404), ("/logout", 405), ("/broken", 500), ("/healthz", 200)]
        + [
            ("/static/style.css", 200),
            ("/favicon.ico", 200),
            ("/robots.txt", 200),
            ("/static/none.css", 404),
        ],
    )
    def test_every_answer_names_its_server(self, browser: FormClient, path: str, status: int) -> None:
        answer = browser.get(path)
        assert answer.status_code == status
        assert answer.headers["X-Served-By"] == "srv2"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        if answer.mimetype == "text/html":
            assert "srv2</span></p>" in answer.text
        answer.close()

    def test_the_header_is_the_settings_server(self, store: MemoryStore) -> None:
        assert FormClient(site(store, server="srv9")).get("/").headers["X-Served-By"] == "srv9"

    def test_personal_pages_are_not_kept(self, app: Flask, alice: FormClient) -> None:
        assert alice.get("/messages").headers["Cache-Control"] == "no-store"
        assert alice.get("/nowhere").headers["Cache-Control"] == "no-store"
        assert FormClient(app).get("/messages").headers["Cache-Control"] == "no-cache"
        with alice.get("/static/app.js") as script:
            assert "max-age=3600" in script.headers["Cache-Control"]


class TestFailures:
    def test_a_silent_database_is_503(
        self, alice: FormClient, store: MemoryStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.down = True
        for path in ("/", "/messages"):
            answer = alice.get(path, **{"X-Request-ID": "abc-1"})
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "2"
            assert answer.headers["X-Served-By"] == "srv2"
            assert "Back in a moment" in answer.text
            assert "told to be down" not in answer.text
        assert "req=abc-1 503 GET /: the memory store was told to be down" in caplog.text
        assert alice.get("/login").status_code == 200
        assert alice.get("/", **JSON).json is not None

    def test_what_failed_late_is_not_asked_again(self, alice: FormClient, store: MemoryStore) -> None:
        """The balancer asks another server after 500 and 503, but not after 504."""
        store.down = True
        now = time.time() * 1000
        for began, status in ((now, 503), (now - 900, 503), (now - 1100, 504), (now - 9000, 504)):
            assert alice.get("/", **{failures.BEGAN: f"{began:.0f}"}).status_code == status
        assert alice.get("/", **{failures.BEGAN: "x"}).status_code == 503
        assert alice.get("/broken", **{failures.BEGAN: f"{now - 1100:.0f}"}).status_code == 504

    def test_health(self, browser: FormClient, store: MemoryStore) -> None:
        well = browser.get("/healthz")
        assert (well.status_code, well.json) == (200, {"server": "srv2", "database": "ok"})
        store.down = True
        ill = browser.get("/healthz")
        assert ill.status_code == 503
        assert ill.json is not None
        assert ill.json["database"] == "failed"
        assert [method for method, _ in store.calls] == ["ping", "ping"]

    def test_a_bug_is_500_without_its_details(self, browser: FormClient) -> None:
        answer = browser.get("/broken")
        assert "That broke" in answer.text
        assert "ZeroDivisionError" not in answer.text

    def test_the_reference_is_the_request_id(self, browser: FormClient) -> None:
        assert "<code>abc-1</code>" in browser.get("/nowhere", **{"X-Request-ID": "abc-1"}).text
        assert "Reference" not in browser.get("/nowhere", **{"X-Request-ID": "<b>"}).text


class TestTrace:
    @pytest.mark.parametrize("raw", ["a", "A-9", "x" * 64])
    def test_a_plain_id_is_kept(self, raw: str) -> None:
        before = time.time()
        found = re.fullmatch(r"/\* req=(\S+) at=(\d+\.\d{6}) \*/ SELECT 1", requestid.tagged("SELECT 1", raw))
        assert found is not None
        assert found[1] == raw
        assert before - 1e-5 <= float(found[2]) <= time.time()

    @pytest.mark.parametrize("raw", [None, "", "x" * 65, "a b", "*/ DROP", "é", "a\n", "%s", "a_b"])
    def test_anything_else_is_a_dash(self, raw: str | None) -> None:
        assert requestid.request_id(raw) == "-"

    @given(st.text())
    def test_nothing_ends_the_comment_early(self, raw: str) -> None:
        assert requestid.tagged("SELECT 1", raw).endswith(" */ SELECT 1")
        assert requestid.tagged("SELECT 1", raw).count("*/") == 1

    def test_it_reaches_the_store(self, browser: FormClient, store: MemoryStore) -> None:
        browser.get("/", **{"X-Request-ID": "abc-1"})
        browser.get("/", **{"X-Request-ID": "*/"})
        assert [caller.request for _, caller in store.calls] == ["abc-1", "-"]


Answer = object
Script = Callable[[str], Answer]


class ScriptedServer:
    """Stands for one MariaDB: records what it is asked, answers by `script`, breaks when told to."""

    def __init__(self, script: Script = lambda sql: ()) -> None:
        self.script = script
        self.asked: list[str] = []
        self.opened = 0
        self.broken = False

    def connect(self) -> Any:
        self.opened += 1
        self.broken = False
        return SimpleNamespace(open=True, cursor=lambda: ScriptedCursor(self), close=lambda: None)

    @property
    def plain(self) -> list[str]:
        """The statements without their comments."""
        return [sql.partition("*/ ")[2] for sql in self.asked]


class ScriptedCursor:
    lastrowid = 7

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.rows: Any = ()

    def __enter__(self) -> ScriptedCursor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self, sql: str, args: tuple[object, ...]) -> None:
        self.server.asked.append(sql)
        if self.server.broken:
            raise pymysql.OperationalError(2013, "Lost connection")
        answer = self.server.script(sql.partition("*/ ")[2])
        if isinstance(answer, Exception):
            raise answer
        self.rows = answer

    def fetchall(self) -> Any:
        return self.rows


def scripted(**answers: Any) -> Script:
    """Answers by how a statement begins (underscores for spaces); an iterator gives one at a time."""

    def script(sql: str) -> Answer:
        sql = re.sub("^SET STATEMENT .* FOR ", "", sql)  # a setting for the statement behind it
        for start, answer in answers.items():
            if sql.startswith(start.replace("_", " ")):
                return next(answer) if isinstance(answer, Iterator) else answer
        return ()

    return script


def joined(read: ScriptedServer, write: ScriptedServer, wait_s: float = 2) -> MariaDBStore:
    return MariaDBStore(DatabaseLink("read", read.connect), DatabaseLink("write", write.connect), wait_s=wait_s)


POSITION = "SELECT @@GLOBAL.gtid_current_pos"
WAIT = "SELECT MASTER_GTID_WAIT(%s, %s)"


def replica(position: str, waited: object = 0) -> ScriptedServer:
    return ScriptedServer(lambda sql: {POSITION: ((position,),), WAIT: ((waited,),)}.get(sql, ()))


class TestMariaDBStore:
    def test_every_statement_has_its_request_in_front(self) -> None:
        read, write = replica("0-1-1"), ScriptedServer(scripted(SELECT=(("0-1-9",),)))
        store, caller = joined(read, write), Caller("abc-1", "0-1-9")
        store.find_user(caller, "alice")
        store.messages(caller, None, 5)
        store.ping(caller)
        store.add_user(caller, "alice", "hash")
        write.script = scripted(BEGIN=((7, "0-1-9"),))
        store.add_message(caller, 1, "hi", "srv1", "k")
        assert len(read.asked + write.asked) > 9
        assert all(re.match(r"/\* req=abc-1 at=[\d.]+ \*/ ", sql) for sql in read.asked + write.asked)

    def test_a_sign_up_is_one_transaction_and_tells_its_gtid(self) -> None:
        write = ScriptedServer(scripted(SELECT=(("0-1-9",),)))
        written = joined(ScriptedServer(), write).add_user(Caller(), "alice", "hash")
        assert written == Written(7, "0-1-9")
        assert [sql.partition(" (")[0] for sql in write.plain] == [
            "START TRANSACTION",
            "SET STATEMENT long_query_time = 31536000 FOR INSERT INTO users",
            "COMMIT",
            "SELECT @@last_gtid",
        ]

    def test_a_post_is_one_statement_and_leaves_no_transaction_open(self) -> None:
        write = ScriptedServer(scripted(BEGIN=((7, "0-1-9"),)))
        written = joined(ScriptedServer(), write).add_message(Caller(), 1, "hi", "srv1", "k")
        assert written == Written(7, "0-1-9")
        assert write.plain == [sqlstore.INSERT_MESSAGE]
        inner = [part.strip().removeprefix("ELSE ") for part in sqlstore.INSERT_MESSAGE.split(";")]
        assert [part.partition(" (")[0] for part in inner if part.startswith(("START", "INSERT", "COMMIT"))] == [
            "START TRANSACTION",
            "INSERT INTO messages",
            "INSERT INTO idempotency_keys",
            "COMMIT",
        ]

    def test_a_read_waits_for_the_sessions_write(self) -> None:
        read, write = replica("0-1-4"), ScriptedServer()
        joined(read, write).find_user(Caller(gtid="0-1-5"), "alice")
        assert read.plain == [POSITION, WAIT, sqlstore.SELECT_USER]
        assert not write.asked

    @pytest.mark.parametrize("wanted", ["", "nonsense"])
    def test_a_session_that_wrote_nothing_does_not_wait(self, wanted: str) -> None:
        read = replica("0-1-4")
        joined(read, ScriptedServer()).find_user(Caller(gtid=wanted), "alice")
        assert read.plain == [sqlstore.SELECT_USER]

    def test_a_server_that_is_there_does_not_wait(self) -> None:
        read = replica("0-1-5")
        joined(read, ScriptedServer()).find_user(Caller(gtid="0-1-5"), "alice")
        assert read.plain == [POSITION, sqlstore.SELECT_USER]

    def test_waiting_can_be_turned_off(self) -> None:
        read = replica("0-1-4")
        joined(read, ScriptedServer(), wait_s=0).find_user(Caller(gtid="0-1-5"), "alice")
        assert read.plain == [sqlstore.SELECT_USER]

    @pytest.mark.parametrize("waited", [-1, None])
    def test_a_replica_too_far_behind_is_passed_over(self, waited: object) -> None:
        read, write = replica("0-1-4", waited), ScriptedServer()
        joined(read, write).find_user(Caller(gtid="0-1-5"), "alice")
        assert write.plain == [sqlstore.SELECT_USER]

    def test_stale_rows_are_better_than_none(self, caplog: pytest.LogCaptureFixture) -> None:
        gone = ScriptedServer(lambda sql: pymysql.OperationalError(2003, "refused"))
        read = replica("0-1-4", -1)
        joined(read, gone).find_user(Caller(gtid="0-1-5"), "alice")
        assert read.plain[-1] == sqlstore.SELECT_USER
        assert "reading stale rows" in caplog.text

    def test_a_key_seen_before_is_replayed(self) -> None:
        duplicate = pymysql.IntegrityError(1062, "Duplicate entry")
        write = ScriptedServer(scripted(BEGIN=duplicate, SELECT=((3, "hi", "0-1-8"),)))
        store = joined(ScriptedServer(), write)
        assert store.add_message(Caller(), 1, "hi", "srv1", "k") == Written(3, "0-1-8", replayed=True)
        with pytest.raises(KeyReused):
            store.add_message(Caller(), 1, "ho", "srv1", "k")

    def test_an_author_unknown_to_the_database(self) -> None:
        write = ScriptedServer(scripted(BEGIN=pymysql.IntegrityError(1452, "foreign key")))
        with pytest.raises(UnknownUser):
            joined(ScriptedServer(), write).add_message(Caller(), 1, "hi", "srv1", "k")

    def test_a_taken_name(self) -> None:
        write = ScriptedServer(scripted(INSERT=pymysql.IntegrityError(1062, "Duplicate entry")))
        with pytest.raises(NameTaken):
            joined(ScriptedServer(), write).add_user(Caller(), "alice", "hash")

    def test_a_post_cut_off_is_tried_until_it_stands(self) -> None:
        lost = pymysql.OperationalError(2013, "Lost connection")
        write = ScriptedServer(scripted(BEGIN=iter([lost, lost, lost, ((7, "0-1-9"),)])))
        assert joined(ScriptedServer(), write).add_message(Caller(), 1, "hi", "srv1", "k").id == 7
        assert write.opened == 4

    def test_patience_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlstore, "PATIENCE_S", 0.05)
        write = ScriptedServer(scripted(BEGIN=pymysql.OperationalError(2003, "refused")))
        with pytest.raises(StoreUnavailable):
            joined(ScriptedServer(), write).add_message(Caller(), 1, "hi", "srv1", "k")
        assert 1 < write.opened < 20

    @pytest.mark.parametrize(
        ("fails", "number", "again"),
        [("INSERT", 2013, True), ("INSERT", 1290, True), ("COMMIT", 1290, True), ("COMMIT", 2013, False)],
    )
    def test_a_sign_up_is_tried_again_only_if_nothing_was_written(self, fails: str, number: int, again: bool) -> None:
        """It has no key: a commit that was sent and never answered may stand. 1290 is an answer: read-only."""
        lost = pymysql.OperationalError(number, "as it happens")
        script = {fails: iter([lost, (), ()]), "SELECT": (("0-1-9",),)}
        write = ScriptedServer(scripted(**script))
        store = joined(ScriptedServer(), write)
        if again:
            assert store.add_user(Caller(), "alice", "hash").id == 7
        else:
            with pytest.raises(StoreUnavailable):
                store.add_user(Caller(), "alice", "hash")
        assert write.plain.count(sqlstore.INSERT_USER) == 1 + again

    def test_a_connection_that_died_while_idle_costs_nothing(self) -> None:
        write = ScriptedServer(scripted(SELECT=(("0-1-9",),)))
        store = joined(ScriptedServer(), write)
        store.add_user(Caller(), "alice", "hash")
        write.broken = True
        store.add_user(Caller(), "bob", "hash")
        assert write.opened == 2
        assert write.plain.count(sqlstore.INSERT_USER) == 2

    def test_a_commit_stands_though_its_gtid_is_lost(self) -> None:
        write = ScriptedServer(scripted(SELECT=pymysql.OperationalError(2013, "Lost connection")))
        assert joined(ScriptedServer(), write).add_user(Caller(), "alice", "hash") == Written(7, "")


class TestLink:
    def test_a_dead_connection_is_replaced_once(self) -> None:
        server = ScriptedServer(lambda sql: ((1,),))
        link = DatabaseLink("read", server.connect)
        link.rerun("SELECT 1")
        server.broken = True
        assert link.rerun("SELECT 1").rows == ((1,),)
        assert server.opened == 2

    def test_a_new_connection_that_fails_is_the_answer(self) -> None:
        server = ScriptedServer(lambda sql: pymysql.OperationalError(2013, "Lost connection"))
        with pytest.raises(StoreUnavailable, match=r"read: .*Lost connection"):
            DatabaseLink("read", server.connect).rerun("SELECT 1")
        assert server.opened == 1

    def test_a_refused_write_is_dropped_so_that_the_next_finds_the_new_primary(self) -> None:
        server = ScriptedServer(lambda sql: pymysql.OperationalError(1290, "--read-only"))
        link = DatabaseLink("write", server.connect)
        with pytest.raises(StoreUnavailable):
            link.run("INSERT")
        assert not link.is_open

    def test_a_mistake_in_sql_is_not_the_databases_absence(self) -> None:
        server = ScriptedServer(lambda sql: pymysql.ProgrammingError(1146, "no such table"))
        link = DatabaseLink("read", server.connect)
        with pytest.raises(pymysql.ProgrammingError):
            link.run("SELECT 1 FROM nowhere")
        assert link.is_open

    def test_how_it_connects(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[dict[str, Any]] = []
        monkeypatch.setattr(pymysql, "connect", lambda **options: asked.append(options))
        settings = config.parse(SETTINGS)
        encrypted_write = replace(settings.write, ca="/ca.pem")
        proven_write = replace(encrypted_write, proof="/proof.pem")
        for endpoint in (settings.read, settings.write, encrypted_write, proven_write):
            opener(endpoint, settings.database)()
        for options in asked:
            timeouts = options["connect_timeout"], options["read_timeout"], options["write_timeout"]
            assert timeouts == (2, 5, 5)
        local, remote, encrypted, proven = asked
        assert local["unix_socket"] == "/run/db.sock"
        assert (remote["host"], remote["port"], remote["ssl_disabled"]) == ("10.0.2.10", 3306, True)
        for each in (encrypted, proven):
            assert (each["ssl_ca"], each["ssl_verify_cert"], each["ssl_verify_identity"]) == ("/ca.pem", True, True)
            assert "ssl_disabled" not in each
        assert "ssl_cert" not in encrypted
        assert (proven["ssl_cert"], proven["ssl_key"]) == ("/proof.pem", "/proof.pem.key")


class TestSettings:
    def test_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "site.json"
        path.write_text(json.dumps(SETTINGS))
        settings = config.load(path)
        assert (settings.server, settings.database) == ("srv2", "foobar")
        assert str(settings.write) == "app_write@10.0.2.10:3306"
        assert SETTINGS["secret_key"] not in repr(settings)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"read": None}, "read must be an object"),
            ({"read": {"user": "u", "password": "p"}}, "read needs either unix_socket or host"),
            (
                {"write": {"user": "u", "password": "p", "host": "h", "unix_socket": "s"}},
                "write needs either",
            ),
            ({"secret_key": "short"}, "at least 16"),
            ({"typo": 1}, "typo"),
        ],
    )
    def test_mistakes_are_named(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigError, match=says):
            config.parse({**SETTINGS, **changes})

    def test_booting_neither_connects_nor_loads_the_driver(self, tmp_path: Path) -> None:
        path = tmp_path / "site.json"
        path.write_text(json.dumps(SETTINGS))
        look = "import sys, services.site.wsgi as w; print(w.app.name, 'pymysql' in sys.modules)"
        for variables, wanted in (({"FOOBAR_SITE_CONFIG": str(path)}, "services.site False"), ({}, "")):
            done = subprocess.run(
                [sys.executable, "-c", look],
                cwd=Path(__file__).parent.parent,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout.strip() == wanted, done.stderr

    @pytest.mark.parametrize(("name", "number"), [("srv1", 1), ("srv7", 1), ("web", 0), (13, 1)])
    def test_colours_go_by_number(self, name: object, number: int) -> None:
        assert tone(name) == number
