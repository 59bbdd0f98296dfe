"""What happens around a testbed: outside, entering a box; inside, boot, show, do something, leave."""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import box, detaching, interruption, launcher
from testbed.commandline import guarded
from topo.errors import EXIT_HOLDS
from topo.profile import SEED, Profile, lacking

if TYPE_CHECKING:
    from controllers.jsonsocket import Handler
    from testbed.testbed import Testbed

    #: one visit to the site, followed and shown; the exit code. It is given from above: the testbed knows no experiment
    Visit = Callable[[Testbed, Path], int]

POLL_SECONDS = 0.5


class Body(ABC):
    """What to do with a testbed once it is steady; returns the exit code."""

    @abstractmethod
    def __call__(self, testbed: Testbed) -> int: ...


def in_box(
    name: str, profile: Profile, argv: list[str], body: Body, *, detach: bool = False, quiet: bool = False
) -> int:
    """Outside a box: run this command again inside one. Inside: boot the testbed and do ``body``.

    ``quiet``: no waterfall and no map, for output that a program reads.
    """
    ties = box.inside()
    if ties is None:
        if profile != SEED and (missing := lacking(profile)):
            print(f"foobar: hardened does without {missing}: not built yet", file=sys.stderr)
        return launcher.enter(name, argv, profile.as_dict(), detach=detach)
    code = guarded(lambda: _live(ties, profile, body, quiet=quiet))
    # The kernel ends whatever is left in the box; threads that still wait for a deadline are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    box.report(ties, code=code)
    os._exit(code)


def _live(ties: box.Ties, profile: Profile, body: Body, *, quiet: bool) -> int:
    began = time.monotonic()
    leaving = interruption.Interruption()
    box.move_in(ties)
    from controllers import jsonsocket
    from testbed import render
    from testbed.testbed import Testbed

    waterfall = render.Waterfall(shown=not quiet)
    with ExitStack() as stack:
        with waterfall:
            testbed = Testbed(profile, box.HOME, mark=waterfall.mark, began=began, broken=leaving.broken)
            stack.enter_context(testbed)
        leaving.booted()
        jsonsocket.serve(ties.control, _handlers(testbed))
        if not quiet:
            render.console.print(render.topology(testbed.plan, profile))
        sys.stdout.flush()
        pids = {host.name: testbed.inside(host.name).pid for host in testbed.plan.hosts}
        box.report(ties, phase="up", hosts=pids)
        stack.callback(leaving.ignore)
        return body(testbed)


def _handlers(testbed: Testbed) -> dict[str, Handler]:
    """What other terminals may ask of a running testbed."""

    def fault(kind: str, target: str = "", what: str = "") -> Any:
        from testbed.faults import injection

        return injection.by_hand(testbed, kind, target, what)

    return {
        "status": testbed.status,
        "switchover": testbed.switch_over,
        "fault": fault,
        "faults": testbed.active_faults.status,
        "heal": testbed.active_faults.heal,
        "denied": testbed.denied,
        "verify": testbed.adoption.verify,
        "rules": testbed.adoption.rules,
        "apply": testbed.adoption.apply,
    }


class Serve(Body):
    """Stay up until somebody ends it."""

    def __init__(self, *, detached: bool) -> None:
        self.detached = detached

    def __call__(self, testbed: Testbed) -> int:  # noqa: ARG002 - it serves by being there
        if self.detached:
            detaching.silence()
        else:
            print("up; end it with Ctrl-C", flush=True)
        while True:  # not signal.pause(), which sleeps on when the signal came an instant before it
            time.sleep(POLL_SECONDS)


class Once(Body):
    """Without a terminal: the journey of one visit, printed."""

    def __init__(self, runs: Path, visit: Visit) -> None:
        self.runs = runs
        self.visit = visit

    def __call__(self, testbed: Testbed) -> int:
        return self.visit(testbed, self.runs)


class Interactive(Body):
    """With a terminal: Mininet's command line and ours."""

    def __init__(self, runs: Path, visit: Visit) -> None:
        self.runs = runs
        self.visit = visit

    def __call__(self, testbed: Testbed) -> int:
        from testbed.prompt import CommandLine

        # at the prompt Ctrl-C ends the command that runs, not the testbed
        signal.signal(signal.SIGINT, signal.default_int_handler)
        CommandLine(testbed, self.runs, self.visit)
        return EXIT_HOLDS
