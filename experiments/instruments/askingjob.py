"""A worker's job (worker.py) whose work is an event loop, in a thread of its own: somebody asks, until it is ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol


class Asker(Protocol):
    """The one who asks, within an event loop."""

    async def run(self, ended: asyncio.Event) -> None:
        """Until ``ended``, and until all that had begun is over."""

    async def pause(self) -> None: ...

    def resume(self) -> None: ...


class AskingJob:
    """``asker`` makes the one who asks; it is called within the event loop."""

    def __init__(self, asker: Callable[[], Asker]) -> None:
        self._make = asker
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="asker")

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def pause(self) -> None:
        asyncio.run_coroutine_threadsafe(self._asker.pause(), self._loop).result()

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._asker.resume)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._asker = self._make()
        self._ready.set()
        await self._asker.run(self._ended)
