"""A command: its words, where it makes sense, and what it does; and how it reaches a testbed from there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from testbed import control, state
from testbed.commandline import Parser
from topo.profile import SEED, Profile

if TYPE_CHECKING:
    from testbed.body import Body
    from testbed.testbed import Testbed
    from topo.plan import Plan

#: what a running testbed does when it is asked something: called with the testbed and the request's arguments
Request = Callable[..., Any]
#: an argument of more letters is a text, and no word
WORD = 60


@dataclass(frozen=True)
class ChangeRequest:
    """A request that changes the testbed: it spoils what an experiment measures meanwhile, so it is noted."""

    request: Request

    def __call__(self, testbed: Testbed, **arguments: Any) -> Any:
        return self.request(testbed, **arguments)


class Command(ABC):
    """One verb. ``name``, ``words`` and ``summary`` are its line in the list of commands; ``about`` heads its help."""

    name: str
    summary: str
    about: str
    words = ""
    group = "testbeds"
    outside = True
    at_prompt = True
    #: whether it takes ``--name``: which of several running testbeds
    of_one_testbed = True
    #: whether words after ``--`` are another command's, given as ``options.after``
    runs_another = False

    @property
    def requests(self) -> Mapping[str, Request]:
        """The requests that it sends to a running testbed, by name; they are answered in the box.

        One that changes anything there is a ``ChangeRequest``.
        """
        return {}

    def arguments(self, parser: Parser) -> None:  # noqa: B027 - it need not have any
        """Give a parser its arguments and flags."""

    @abstractmethod
    def run(self, options: Namespace, origin: Origin) -> int:
        """Do it and print what it has to say; the exit code. Raises FoobarError."""

    def candidates(self, before: Sequence[str], origin: Origin) -> Iterable[str]:  # noqa: ARG002 - none by default
        """The words that the next argument may be, after these arguments; for completion."""
        return ()


class BootingCommand(Command):
    """A command that boots a testbed, instead of asking one that runs."""

    at_prompt = False
    of_one_testbed = False

    @abstractmethod
    def body(self, options: Namespace) -> Body:
        """The work on the testbed."""

    def run(self, options: Namespace, origin: Origin) -> int:
        return origin.boot(options, self.body(options))


class AskedTestbed(ABC):
    """A running testbed, asked the same things from its own prompt and from another terminal."""

    name: str
    profile: Profile

    @abstractmethod
    def ask(self, request: str, **arguments: Any) -> Any:
        """The answer to one of the commands' requests. Raises FoobarError."""


class RemoteTestbed(AskedTestbed):
    """Asked over its control socket."""

    def __init__(self, entry: state.Entry) -> None:
        self.entry = entry
        self.name = entry.name
        self.profile = Profile(**entry.profile)

    def ask(self, request: str, **arguments: Any) -> Any:
        return control.ask(self.entry, request, **arguments)


class LocalTestbed(AskedTestbed):
    """Asked in its own process."""

    def __init__(self, testbed: Testbed, requests: Mapping[str, Request]) -> None:
        self.requests = handlers(testbed, requests, "the prompt")
        self.name = "this one"
        self.profile = testbed.profile

    def ask(self, request: str, **arguments: Any) -> Any:
        return self.requests[request](**arguments)


def handlers(testbed: Testbed, requests: Mapping[str, Request], who: str) -> dict[str, Request]:
    """The requests, to be answered by this testbed; ``who`` asks."""
    return {
        name: partial(_noted, testbed, name, request, who)
        if isinstance(request, ChangeRequest)
        else partial(request, testbed)
        for name, request in requests.items()
    }


def _noted(testbed: Testbed, name: str, request: Request, who: str, /, **arguments: Any) -> Any:
    words = " ".join(str(word) for word in (name, *arguments.values()) if word is not None and len(str(word)) <= WORD)
    return testbed.disturbances.request(who, words, partial(request, testbed, **arguments))


class Origin(ABC):
    """The place where a command was typed: a terminal outside, or a testbed's own prompt."""

    at_prompt: bool

    @abstractmethod
    def target(self, name: str | None) -> AskedTestbed:
        """The testbed that is meant. Raises UsageError when that is not clear, RefusedError while it boots."""

    @abstractmethod
    def target_if_any(self, name: str | None) -> AskedTestbed | None:
        """The same, or None where no testbed runs and none is named."""

    def plan(self) -> Plan:
        """The plan of the testbed that is meant, or the seed's where none runs."""
        from topo.plan import plan

        target = self.target_if_any(None)
        return plan(target.profile if target else SEED)

    def boot(self, options: Namespace, body: Body) -> int:
        """Boot a testbed and do something on it; the exit code. A terminal can."""
        raise NotImplementedError

    def visit(self) -> int:
        """Follow one visit to the site on this testbed; the exit code. A prompt can."""
        raise NotImplementedError

    @abstractmethod
    def suggest(self, words: Sequence[str], text: str) -> list[str]:
        """The words that begin with ``text`` and may follow these words of a command line."""
