"""The application: settings and a store in, a WSGI application out."""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Flask
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from services.site import door, failures, headers, inputs
from services.site.config import Config, Hops
from services.site.pages import Pages
from services.site.passwords import HashQueue, Passwords
from services.site.routes import COOKIE
from services.site.sqlstore import connected
from services.site.store import Store

SESSION = timedelta(hours=8)
TONES = 6


def create_app(config: Config, store: Store | None = None) -> Flask:
    """The site of one server. Nothing connects until the first request; `store` replaces MariaDB."""
    app = Flask("services.site")
    app.config.from_mapping(settings(config))
    door.install(app)
    CSRFProtect(app)
    headers.install(app, config.server)
    failures.install(app, config.broken)
    passwords = Passwords(config.password_method, HashQueue() if config.limits else None)
    pages = Pages(config.server, store or connected(config), passwords, limits=config.limits)
    pages.install(app)
    app.jinja_env.globals.update(server=config.server, visitor=pages.visitor, limits=inputs)
    app.jinja_env.filters["tone"] = tone
    trust(app, config.hops)
    return app


def settings(config: Config) -> dict[str, object]:
    """Flask's settings. The cookie is bound to this host and to TLS by its name's prefix."""
    return {
        "SECRET_KEY": config.secret_key,
        "SESSION_COOKIE_NAME": COOKIE.name,
        "SESSION_COOKIE_PATH": "/",
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_REFRESH_EACH_REQUEST": False,
        "PERMANENT_SESSION_LIFETIME": SESSION,
        "WTF_CSRF_TIME_LIMIT": int(SESSION.total_seconds()),
        "MAX_CONTENT_LENGTH": inputs.LARGEST_REQUEST,
        "SEND_FILE_MAX_AGE_DEFAULT": timedelta(hours=1),
    }


def trust(app: Flask, hops: Hops) -> None:
    """Take client address, scheme and host from the proxies, exactly as many as there are."""
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        app.wsgi_app, x_for=hops.for_, x_proto=hops.proto, x_host=hops.host
    )


def tone(name: object) -> int:
    """The style sheet's colour of a server or user: by its number, the same everywhere."""
    digits = re.search(r"\d+$", str(name))
    return int(digits.group()) % TONES if digits else 0
