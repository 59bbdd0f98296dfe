"""The site with a store in memory, as gunicorn loads it: `memorysite:app`."""

from __future__ import annotations

from services.site.app import create_app
from services.site.config import parse
from services.site.memorystore import MemoryStore

SETTINGS = {
    "server": "srv2",
    "secret_key": "a secret of the tests",
    "limits": True,
    "read": {"unix_socket": "/nowhere", "user": "reader", "password": "r"},
    "write": {"unix_socket": "/nowhere", "user": "writer", "password": "w"},
}

app = create_app(parse(SETTINGS), MemoryStore())
