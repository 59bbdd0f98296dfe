"""Workers: led by words over standard input, heard as JSON lines; a worker's death is an error with its own words."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import FakePlace

from experiments.instruments import load, worker
from experiments.instruments.worker import HostWorker
from testbed import namespaces
from topo import wait
from topo.errors import FoobarError

PROGRAM = """
import os, sys, threading, time
from experiments.instruments.worker import serve

class Counting:
    def __init__(self, settings, say):
        self.settings, self.say, self.going, self.over = settings, say, threading.Event(), threading.Event()
        self.going.set()
        self.thread = threading.Thread(target=self.run)
    def start(self):
        self.thread.start()
    def pause(self):
        self.going.clear()
    def resume(self):
        self.going.set()
    def end(self):
        self.over.set()
        self.thread.join()
        self.say("the last")
        if self.settings.get("complains"):
            print("something was wrong", file=sys.stderr)
    def run(self):
        number = 0
        while not self.over.wait(0.002):
            if self.going.is_set():
                number += 1
                self.say(number)
            if number == self.settings.get("dies"):
                raise RuntimeError("the database has gone")

if __name__ == "__main__":
    sys.exit(serve(Counting))
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., HostWorker]:
    (tmp_path / "counting.py").write_text(PROGRAM)

    def started(hear: Callable[[str], None], **settings: Any) -> HostWorker:
        return HostWorker("counter", FakePlace(tmp_path), "counting", settings, hear)  # type: ignore[arg-type]

    return started


def heard(lines: list[str], count: int) -> None:
    wait.until(lambda: None if len(lines) >= count else f"{len(lines)} lines", what="results", seconds=10)


def test_results_are_heard_until_it_is_told_to_end(start: Callable[..., HostWorker]) -> None:
    lines: list[str] = []
    with start(lines.append) as at_work:
        heard(lines, 5)
        at_work.check()
    results = [json.loads(line) for line in lines]
    assert results == [*range(1, len(results)), "the last"]


def test_while_it_is_paused_nothing_is_heard(start: Callable[..., HostWorker]) -> None:
    lines: list[str] = []
    with start(lines.append) as at_work:
        heard(lines, 3)
        at_work.pause()
        at_work.wait_paused()
        time.sleep(0.01)  # what was being said when it paused
        count = len(lines)
        time.sleep(0.05)
        assert len(lines) == count
        at_work.resume()
        heard(lines, count + 3)


@pytest.mark.parametrize("act", ["check", "pause", "resume", "leave"])
def test_its_death_is_an_error_with_its_words(start: Callable[..., HostWorker], act: str) -> None:
    lines: list[str] = []

    def work() -> None:
        with start(lines.append, dies=3) as at_work:
            heard(lines, 3)
            wait.until(lambda: None if at_work._process.poll() else "alive", what="its end", seconds=10)
            if act != "leave":
                getattr(at_work, act)()
                raise AssertionError("not reached")

    with pytest.raises(FoobarError, match=r"^counter: ended with status 3$") as caught:
        work()
    assert "RuntimeError: the database has gone" in caught.value.detail


def test_words_of_complaint_at_the_end_are_an_error_too(start: Callable[..., HostWorker]) -> None:
    lines: list[str] = []
    with (
        pytest.raises(FoobarError, match=r"^counter: ended with status 0$") as caught,
        start(lines.append, complains=True),
    ):
        heard(lines, 1)
    assert caught.value.detail == "something was wrong"


def test_results_that_cannot_be_taken_in_are_an_error(start: Callable[..., HostWorker]) -> None:
    def choke(line: str) -> None:
        raise ValueError(line.strip())

    def look(at_work: HostWorker) -> str:
        at_work.check()
        return "nothing wrong"

    with (
        pytest.raises(FoobarError, match=r"^counter: its results could not be taken in: ValueError: 1$"),
        start(choke) as at_work,
    ):
        wait.until(lambda: look(at_work), what="an error", seconds=5)


def test_a_worker_that_does_not_pause_is_told_of(
    start: Callable[..., HostWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.05)
    at_work = start(lambda _: None)
    with pytest.raises(FoobarError, match=r"^counter paused: not within 0.05 s$"):
        at_work.wait_paused()
    at_work.kill()


def test_whoever_leaves_by_an_error_hears_of_that_one(start: Callable[..., HostWorker]) -> None:
    with pytest.raises(KeyError), start(lambda _: None, dies=1):
        raise KeyError


# --- pacing --------------------------------------------------------------------------------------------------------


def test_steady_moments_are_equally_far_apart() -> None:
    assert list(islice(load.steady(4, 10.0), 4)) == [10.0, 10.25, 10.5, 10.75]


def test_poisson_moments_come_at_their_rate_and_by_the_seed() -> None:
    first, again, other = (list(islice(load.poisson(100, Random(seed), 0.0), 5000)) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)
    assert len(first) / first[-1] == pytest.approx(100, rel=0.05)


def test_what_was_missed_is_not_made_up_for() -> None:
    clock = iter([10.0, 10.1, 10.6, 10.6, 10.6, 10.8])
    due = load.not_missed(load.steady(4, 10.0), lambda: next(clock))
    assert list(islice(due, 3)) == [10.0, 10.25, 10.75]


def test_who_measures_is_ahead_by_what_the_kernel_shares_processors_out_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own niceness says nothing to the kernel where sessions are grouped: it was as late as what it measured."""
    monkeypatch.setattr(namespaces, "AHEAD", 7)  # everybody may go behind
    process = subprocess.Popen(("sleep", "60"), start_new_session=True)
    try:
        namespaces.put_ahead(process)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7
        with suppress(FileNotFoundError):  # a kernel that does not group them
            assert Path(f"/proc/{process.pid}/autogroup").read_text().split()[-1] == "7"
    finally:
        process.kill()
        process.wait()
