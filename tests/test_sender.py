"""What waits at a switch's end of a link, and that no more is sent than it takes."""

from __future__ import annotations

import pytest

from experiments.instruments import sender
from topo.errors import DeadlineError

TABLE = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000c1a5ab6c 3      3    0003   7     1 76800  0      31180
00000000a1a5ab6c 3      3    0003   9     1 0      0      31181
00000000b1a5ab6c 3      3    0003   7     1 100    0      31182
"""


def test_what_waits_is_told_by_interface() -> None:
    assert [sender.waiting(TABLE, number) for number in (7, 9, 8)] == [76900, 0, 0]


class Table:
    """/proc/net/packet, which the switch empties bit by bit."""

    def __init__(self, left: int, read: int) -> None:
        self.left = left
        self.read = read

    def read_text(self) -> str:
        self.left = max(0, self.left - self.read)
        return f"sk\nx 3 3 0003 7 1 {self.left} 0 1\n"


def test_it_waits_until_the_switch_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(1000, 300)
    monkeypatch.setattr(sender, "SOCKETS", table)
    sender._wait(7, 1)
    assert table.left == 0


def test_a_switch_that_reads_no_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SOCKETS", Table(1000, 0))
    monkeypatch.setattr(sender, "SECONDS", 0.01)
    with pytest.raises(DeadlineError, match="has not read its link 7"):
        sender._wait(7, 1)
