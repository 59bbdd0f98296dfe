"""The site's pages, and the same board as JSON for programs."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

from flask import Flask, Response, flash, g, jsonify, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from services.site import cookie, inputs
from services.site.cookie import Visitor
from services.site.exceptions import KeyReused, NameTaken, SessionEnded, StoreUnavailable, UnknownUser
from services.site.failures import wants_json
from services.site.inputs import Credentials
from services.site.passwords import Passwords
from services.site.routes import FILES, ROUTES
from services.site.store import Caller, Message, Store

log = logging.getLogger("foobar.site")

PAGE = 50
LATEST = 5
REPLAY = "Idempotent-Replay"
#: where the access log finds which account a log-in was for
ACCOUNT = "foobar.account"
WRONG_LOGIN = "That name and password do not go together."
GUESSED = f"Too many wrong passwords for this name. Try again in {inputs.PAUSE_MINUTES} minutes."


class Pages:
    """One method for each address; `server` is the name that new messages carry, `limits` counts wrong passwords."""

    def __init__(self, server: str, store: Store, passwords: Passwords, *, limits: bool = False) -> None:
        self.server = server
        self.store = store
        self.passwords = passwords
        self.limits = limits

    def install(self, app: Flask) -> None:
        """Tell `app` which address is which page."""
        for route in ROUTES:
            app.add_url_rule(route.path, view_func=getattr(self, route.page), methods=route.methods)
        for name in FILES:
            app.add_url_rule(f"/{name}", name, app.send_static_file, defaults={"filename": name})

    def home(self) -> ResponseReturnValue:
        latest = self.store.messages(cookie.caller(), None, LATEST)
        return render_template("home.html", messages=latest)

    def signup(self) -> ResponseReturnValue:
        if request.method != "POST":
            return render_template("signup.html", name="", problems={})
        typed = Credentials.of(request.form)
        if problems := typed.problems():
            return render_template("signup.html", name=typed.name, problems=problems), 422
        try:
            made = self.store.add_user(cookie.caller(), typed.name, self.passwords.hash(typed.password))
        except NameTaken:
            problems = {"name": "Somebody has this name already."}
            return render_template("signup.html", name=typed.name, problems=problems), 409
        cookie.remember(made.gtid)
        flash(f"Welcome, {typed.name}. Your account is ready: log in.")
        return redirect(f"{url_for('login')}?{urlencode({'name': typed.name})}", 303)

    def login(self) -> ResponseReturnValue:
        if request.method != "POST":
            return render_template("login.html", name=request.args.get("name", ""), problem="")
        typed = Credentials.of(request.form)
        request.environ[ACCOUNT] = cookie.pseudonym(typed.name)
        is_name = not inputs.name_problem(typed.name)
        user = self.store.find_user(cookie.caller(), typed.name) if is_name else None
        known = user.password_hash if user else None
        if user and self.limits and self.store.count_guess(cookie.caller(), user.id) > inputs.GUESSES:
            return render_template("login.html", name=typed.name, problem=GUESSED), 429
        if not self.passwords.match(known, typed.password) or user is None:
            return render_template("login.html", name=typed.name, problem=WRONG_LOGIN), 401
        if self.limits:
            self.store.forget_guesses(cookie.caller(), user.id)
        cookie.log_in(user)
        return redirect(url_for("messages"), 303)

    def logout(self) -> ResponseReturnValue:
        caller = cookie.caller()
        if caller.session:
            cookie.remember(self.store.end_session(caller).gtid)
        cookie.log_out()
        flash("You are logged out.")
        return redirect(url_for("home"), 303)

    def messages(self) -> ResponseReturnValue:
        listed = self.store.messages(cookie.caller(), before(), PAGE + 1)
        older = url_for("messages", before=listed[PAGE - 1].id) if len(listed) > PAGE else None
        if not wants_json():
            return self._board(listed[:PAGE], older)
        rows = [as_json(message) for message in listed[:PAGE]]
        return _varied(jsonify(server=self.server, messages=rows, older=older))

    def post(self) -> ResponseReturnValue:
        author = cookie.current()
        if author is None:
            return self._stranger("Log in to post a message.")
        text, key = sent_message()
        if problem := inputs.text_problem(text):
            return self._refused(problem, text)
        try:
            return self._posted(author, text, key)
        except UnknownUser:
            cookie.log_out()
            return self._stranger("Your account is not known here any more. Please log in or sign up again.")
        except SessionEnded:
            cookie.log_out()
            return self._stranger("You have logged out. Log in to post a message.")
        except KeyReused:
            return self._refused("This form was sent before with another text. Send it again to post both.", text)

    def healthz(self) -> ResponseReturnValue:
        try:
            self.store.ping(cookie.caller())
        except StoreUnavailable as error:
            log.info("unhealthy: %s", error)
            return jsonify(server=self.server, database="failed"), 503
        return jsonify(server=self.server, database="ok")

    def visitor(self) -> Visitor | None:
        """The user who is shown as logged in: not one whose session has ended, nor while the database is silent.

        The local server is asked, and may not know yet. What a session lets somebody do is refused by the primary.
        """
        if "visitor" not in g:
            g.visitor = None if self._has_ended(cookie.caller()) else cookie.current()
        visitor: Visitor | None = g.visitor
        return visitor

    def _has_ended(self, caller: Caller) -> bool:
        try:
            return bool(caller.session) and self.store.has_ended(caller)
        except StoreUnavailable as error:
            log.warning("req=%s nobody is shown as logged in: %s", caller.request, error)
            return True

    def _posted(self, author: Visitor, text: str, key: str) -> Response:
        written = self.store.add_message(cookie.caller(), author.id, text, self.server, key)
        cookie.remember(written.gtid)
        if wants_json():
            response = make_response(jsonify(id=written.id, server=self.server), 201)
        else:
            response = make_response(redirect(url_for("messages"), 303))
        if written.replayed:
            response.headers[REPLAY] = "true"
        return _varied(response)

    def _refused(self, problem: str, text: str) -> ResponseReturnValue:
        """422 with the text kept and a fresh key, so that sending again is a new attempt."""
        if wants_json():
            return _varied(make_response(jsonify(error=problem), 422))
        listed = self.store.messages(cookie.caller(), None, PAGE)
        return make_response(self._board(listed, None, problem=problem, text=text), 422)

    def _stranger(self, reason: str) -> ResponseReturnValue:
        if wants_json():
            return _varied(make_response(jsonify(error=reason), 401))
        flash(reason)
        return redirect(url_for("login"), 303)

    def _board(self, listed: list[Message], older: str | None, problem: str = "", text: str = "") -> Response:
        page = render_template(
            "messages.html",
            messages=listed,
            older=older,
            problem=problem,
            text=text,
            limit=inputs.TEXT_LENGTH[-1],
            idempotency_key=inputs.new_key(),
        )
        return _varied(make_response(page))


def as_json(message: Message) -> dict[str, object]:
    """A message as programs get it."""
    return {
        "id": message.id,
        "author": message.author,
        "text": message.text,
        "server": message.server,
        "created": message.created.isoformat(),
    }


def before() -> int | None:
    """The id at which the page asked for begins, if one was asked for."""
    asked = request.args.get("before")
    if asked is None:
        return None
    if not (asked.isascii() and asked.isdigit() and len(asked) <= 18):
        raise BadRequest("`before` is the number of a message.")
    return int(asked)


def sent_message() -> tuple[str, str]:
    """Text and idempotency key of a form or a JSON body; without a key the request gets its own."""
    sent = request.get_json() if request.is_json else request.form
    if not hasattr(sent, "get"):
        raise BadRequest("Send an object with a `message`.")
    key = request.headers.get("Idempotency-Key") or sent.get("idempotency_key") or inputs.new_key()
    if not isinstance(key, str) or not inputs.is_key(key):
        raise BadRequest("An idempotency key is 1 to 64 letters, digits or any of _ . : -")
    return inputs.message_text(sent.get("message")), key


def _varied(response: Response) -> Response:
    response.vary.add("Accept")
    return response
