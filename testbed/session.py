"""A testbed's session: outside, entering a box; inside, boot, show, work, leave."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack

from testbed import box
from testbed.body import Body
from testbed.commandline import guarded
from testbed.commands import command, commandlist
from topo import wait
from topo.plaintext import say
from topo.profile import SEED, Profile, lacking

#: every step of a boot has a deadline of its own; this one is for what nobody has thought of
BOOT_SECONDS = 300.0
TOO_LONG = "the boot was not done within {seconds:g} s; the lines above say how far it came"


def in_box(
    name: str, profile: Profile, argv: list[str], body: Body, *, detach: bool = False, quiet: bool = False
) -> int:
    """Outside a box: run this command again inside one. Inside: boot the testbed and do ``body``.

    ``quiet``: no waterfall and no map, for output that a program reads.
    """
    ties = box.inside()
    if ties is None:
        from testbed import launcher

        if profile != SEED and (missing := lacking(profile)):
            say(f"foobar: hardened does without {missing}: not built yet", error=True)
        return launcher.enter(name, argv, profile.as_dict(), detach=detach)
    code = guarded(lambda: _live(ties, profile, body, quiet=quiet))
    # The kernel ends whatever is left in the box; threads that still wait for a deadline are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    box.report(ties, code=code)
    os._exit(code)


def _live(ties: box.Ties, profile: Profile, body: Body, *, quiet: bool) -> int:
    began = time.monotonic()
    from testbed.interruption import Interruption

    leaving = Interruption()
    seconds = BOOT_SECONDS * wait.patience()
    deadline = threading.Timer(seconds, leaving.broken, [TOO_LONG.format(seconds=seconds)])
    deadline.daemon = True
    deadline.start()
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
        deadline.cancel()
        jsonsocket.serve(ties.control, command.handlers(testbed, commandlist.requests(), "another terminal"))
        if not quiet:
            render.console.print(render.topology(testbed.plan, profile))
        sys.stdout.flush()
        pids = {host.name: testbed.inside(host.name).pid for host in testbed.plan.hosts}
        box.report(ties, phase="up", hosts=pids)
        stack.callback(leaving.ignore)
        return body(testbed)
