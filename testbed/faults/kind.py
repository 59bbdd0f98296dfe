"""A fault as a value, a kind of fault, and one fault's way in and out: what every file of a kind builds on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.service import Service
from topo.plan import Plan

if TYPE_CHECKING:
    from testbed.testbed import Testbed

Mark = Callable[..., None]
Services = tuple[Service, ...]
#: what a kind of fault can hit -> what of it; nothing in there means that nothing more is to be said
Targets = Mapping[str, tuple[str, ...]]

# symptoms: how a fault shows to those who depend on what it hits; several at once are compound
CRASH, GRACEFUL, SILENT, ERROR, PLANNED, COMPOUND, FLAPPING = (
    "crash",
    "graceful",
    "silent",
    "error",
    "planned",
    "compound",
    "flapping",
)


@dataclass(frozen=True)
class Fault:
    """``target``: a host, a switch, or a selector (selection.py). ``what``: its service, or the other end."""

    kind: str
    target: str = ""
    what: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.target, self.what) if word)


@dataclass
class Injection:
    """One fault on its way in: what its kind may use, and what it says of itself.

    ``also`` injects another fault as a part of this one. ``began``: when the failure itself began (s since 1970).
    ``seen``: what showed that a compound fault is in force; empty when it was not seen to be.
    """

    testbed: Testbed
    number: int
    mark: Mark
    also: Callable[[Fault], AbstractContextManager[Injection]]
    began: float = 0.0
    seen: str = ""

    def begin(self) -> None:
        """The failure begins now; said again by a kind that needs time to prepare it."""
        self.began = time.time()


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    ``words`` says what follows its name on the command line; ``seconds`` is how long injecting it may take, and as long
    again healing it. ``inject`` is a context manager that heals itself. ``between``: it is between two nodes, so that
    ``what`` may be a selector, too; else it is the name of a service.
    """

    name: str
    words: str
    does: str
    symptom: str
    seconds: float
    targets: Callable[[Plan, Services], Targets]
    inject: Callable[[Injection, Fault], AbstractContextManager[None]]
    between: bool = False


@contextmanager
def undone(do: Callable[[], None], undo: Callable[[], None]) -> Iterator[None]:
    """Done for the block, undone after it, also when it could be done only in part."""
    try:
        do()
        yield
    finally:
        undo()
