"""The exporter's process: ``python -m services.monitoring CONFIG.json``; asked at ``/SOURCE``, it answers for that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from services.monitoring.hostusage import HostUsage

#: by the source's name: made of its settings, it collects anew each time it is asked
SOURCES: dict[str, Callable[..., Collector]] = {"host": HostUsage}


class QuietHandler(WSGIRequestHandler):
    """It logs no request: one comes every second."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def application(configured: dict[str, dict[str, Any]]) -> Callable[..., Any]:
    """A WSGI application with a path for each source. One that raises is answered with 500: it is down."""
    pages = {f"/{name}": make_wsgi_app(_registry(SOURCES[name](**words))) for name, words in configured.items()}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            start_response("404 Not Found", [])
            return [b""]
        return page(environ, start_response)

    return answer


def _registry(source: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(source)
    return registry


def main(config: str) -> None:
    """Serve until killed."""
    given = json.loads(Path(config).read_text())
    server = make_server(
        "127.0.0.1",
        given["port"],
        application(given["sources"]),
        server_class=ThreadingWSGIServer,
        handler_class=QuietHandler,
    )
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
