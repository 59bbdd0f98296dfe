"""Headers of every answer: the server that made it, and the browser's restrictions."""

from __future__ import annotations

from flask import Flask, Response, session

from services.browserpolicy import POLICY


def install(app: Flask, server: str) -> None:
    """Add the headers to whatever `app` answers, errors included. The balancer adds HSTS."""

    @app.after_request
    def add(response: Response) -> Response:
        response.headers["X-Served-By"] = server
        response.headers.update(POLICY)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store" if is_personal(response) else "no-cache"
        return response


def is_personal(response: Response) -> bool:
    """True if the answer is for one visitor or one time only and must not be kept anywhere."""
    return bool(session) or response.status_code >= 400
