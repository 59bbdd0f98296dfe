"""The userspace datapath's own tuning, where a machine has no kernel datapath."""

from __future__ import annotations

import re

import pytest
from runningtestbed import RunningTestbed

from controllers.ovs.receivebuffers import RECEIVE_BYTES

pytestmark = pytest.mark.root


def test_every_ports_socket_has_room_for_many_segments(bed: RunningTestbed) -> None:
    if bed.status()["datapath"] != "user":
        pytest.skip("the kernel datapath has no such sockets")
    shown = bed.run("box", "ss", "-0", "-n", "-m")
    rooms = [int(room) for room in re.findall(r"rb(\d+)", shown)]
    assert rooms.count(2 * RECEIVE_BYTES) == len(bed.status()["hosts"])  # the kernel counts its own overhead in
