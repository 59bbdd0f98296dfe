"""Visitors who ask for the home page again and again, run on the client: ``... asker URL RATE SECONDS LINE``.

Each request has a connection of its own and is sent when it is due, whatever became of those before. Prints one JSON
object a line: {time, ms, status, server, request_id, changed, error}; ``changed``: the line was on the page.
"""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

TRUST = "/etc/ssl/certs/ca-certificates.crt"
SECONDS = 8.0


def ask(host: str, path: str, line: str, context: ssl.SSLContext) -> dict[str, Any]:
    """One request, and what became of it."""
    began, clock = time.time(), time.perf_counter()
    row: dict[str, Any] = {"time": began, "status": None, "server": None, "request_id": None, "changed": False}
    connection = http.client.HTTPSConnection(host, timeout=SECONDS, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        page = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return {**row, "ms": _ms(clock), "error": getattr(error, "reason", None) or str(error) or type(error).__name__}
    finally:
        connection.close()
    seen = {"status": answer.status, "changed": line.encode() in page, "ms": _ms(clock), "error": None}
    return {**row, **seen, "server": answer.headers["X-Served-By"], "request_id": answer.headers["X-Request-ID"]}


def _ms(clock: float) -> float:
    return round((time.perf_counter() - clock) * 1000, 3)


def main(url: str, rate: str, seconds: str, line: str) -> None:
    """Ask, then print every row."""
    parts, context = urlsplit(url), ssl.create_default_context(cafile=TRUST)
    one = partial(ask, str(parts.hostname), parts.path, line, context)
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=128) as pool:
        asked = []
        for number in range(int(float(rate) * float(seconds))):
            time.sleep(max(0.0, began + number / float(rate) - time.monotonic()))
            asked.append(pool.submit(one))
        for each in asked:
            print(json.dumps(each.result()))


if __name__ == "__main__":
    main(*sys.argv[1:])
