"""The shells that Mininet talks to: one that ends is an error, and one that does not answer has a deadline."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from testbed import network
from testbed.network import PROMPT, PromptShell
from topo.errors import DeadlineError, FoobarError


class MininetsNode:
    """The part of Mininet's node that is read from."""

    def __init__(self, *argv: str) -> None:
        ours, theirs = os.openpty()
        self.name, self.readbuf, self.stdout = "srv1", "", os.fdopen(ours, "rb", buffering=0)
        self.shell = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        self.theirs = theirs  # Mininet keeps it open, so that a shell's end is not seen by reading

    def startShell(self, mnopts: str | None = None) -> None:
        while not self.read().endswith(PROMPT):
            pytest.fail("Mininet would poll without end here")

    def read(self, size: int = 1024) -> str:
        return os.read(self.stdout.fileno(), size).decode()


class PromptNode(PromptShell, MininetsNode):
    """A node as ours are."""


@pytest.fixture
def nodes() -> Iterator[Callable[[str], PromptNode]]:
    made: list[PromptNode] = []

    def start(script: str) -> PromptNode:
        made.append(PromptNode("sh", "-c", script))
        return made[-1]

    yield start
    for node in made:
        node.shell.kill()
        node.shell.wait()
        node.stdout.close()
        os.close(node.theirs)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only for what is meant to last longer: all else has the product's time."""
    monkeypatch.setattr(network, "SHELL_SECONDS", 0.3)


def test_a_prompt_that_comes_in_parts_is_waited_for(nodes: Callable[[str], PromptNode]) -> None:
    nodes(r"printf 'no job control'; sleep 0.05; printf '\177'; exec sleep 9").startShell()


def test_a_shell_that_ends_is_an_error_with_its_last_words(nodes: Callable[[str], PromptNode]) -> None:
    with pytest.raises(FoobarError, match=r"^srv1: its shell ended: setpriv: no such capability$"):
        nodes("echo a; echo 'setpriv: no such capability'").startShell()


@pytest.mark.usefixtures("impatient")
def test_a_shell_that_does_not_answer_is_not_waited_for_without_end(nodes: Callable[[str], PromptNode]) -> None:
    with pytest.raises(DeadlineError, match=r"^srv1: an answer of its shell: not within 0.3 s"):
        nodes("exec sleep 9").startShell()


@pytest.mark.usefixtures("impatient")
def test_once_the_network_is_made_a_command_may_take_its_time(nodes: Callable[[str], PromptNode]) -> None:
    node = nodes("sleep 0.6; printf late; exec sleep 9")
    node.building = False
    assert node.read() == "late"
