"""Every kind of fault, one line each: what ``fault KIND`` can do, and what experiments and labs choose from."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.faults.blackhole import BLACKHOLE
from testbed.faults.candidate import CANDIDATE
from testbed.faults.cut import CUT
from testbed.faults.error500 import ERROR500
from testbed.faults.flap import FLAP, LONE
from testbed.faults.freeze import FREEZE
from testbed.faults.full import FULL
from testbed.faults.kill import KILL
from testbed.faults.kind import Kind
from testbed.faults.lag import LAG
from testbed.faults.off import OFF
from testbed.faults.planned import HAND_OVER
from testbed.faults.severed import SEVERED
from testbed.faults.stop import STOP, STOP_CONTROLLER
from testbed.faults.stuck import STUCK
from testbed.faults.unmanaged import MANAGER, UNWATCHED

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        KILL,
        STOP,
        FREEZE,
        ERROR500,
        CUT,
        FLAP,
        STUCK,
        FULL,
        BLACKHOLE,
        OFF,
        STOP_CONTROLLER,
        CANDIDATE,
        MANAGER,
        UNWATCHED,
        LAG,
        LONE,
        SEVERED,
        HAND_OVER,
    )
}
