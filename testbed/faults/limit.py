"""Time limits: a context that is entered and left in a thread of its own, so that neither can hang its caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from typing import Any

from testbed.interruption import undisturbed
from topo.errors import DeadlineError
from topo.wait import late, patience


class Limited:
    """A context's block, where entering and leaving may take ``seconds`` each. ``what`` names it in errors.

    What hangs cannot be ended from outside: its thread goes on, and leaves the context as soon as it has entered it.
    """

    def __init__(self, context: AbstractContextManager[Any], what: str, seconds: float) -> None:
        self._context, self._what, self._seconds = context, what, seconds * patience()

    def __enter__(self) -> None:
        """Raises DeadlineError; or what the context raises, which has undone itself then."""
        entering = _started(self._context.__enter__, self._what)
        try:
            self._await(entering, "in force")
        except DeadlineError:
            entering.add_done_callback(self._leave_if_entered)
            raise
        except BaseException:  # its own error, or the caller is asked to leave: then it is healed first
            with undisturbed():
                wait([entering], self._seconds)
                if not entering.done():
                    entering.add_done_callback(self._leave_if_entered)
                elif entering.exception() is None:
                    self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        leaving = _started(lambda: self._context.__exit__(None, None, None), self._what)
        self._await(leaving, "healed")

    def _leave_if_entered(self, entering: Future[Any]) -> None:
        if entering.exception() is None:
            self._context.__exit__(None, None, None)

    def _await(self, future: Future[Any], state: str) -> None:
        wait([future], self._seconds)
        if not future.done():
            raise late(f"{self._what} {state}", self._seconds)
        future.result()


def _started(work: Callable[[], Any], name: str) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, daemon=True, name=name).start()
    return future
