"""Which of the frames that were sent are in a host's capture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from experiments.wire.pcap import FILE_HEADER, Pcap

GROUP = 1  # the bit of a MAC address that is everybody's or many's


class Sightings:
    """A capture of one host's link. ``mac``: the host's own."""

    def __init__(self, data: bytes, mac: str) -> None:
        self._data = data
        self._mac = bytes.fromhex(mac.replace(":", ""))
        begun = len(data) >= FILE_HEADER
        self._frames = [(begin, end) for _, begin, end, _ in Pcap(data).records()] if begun else []
        self._begins = [begin for begin, _ in self._frames]

    def arrived(self, frame: bytes, sign: bytes) -> int:
        """How often it is there as a frame for this host, or for many; or exactly as it was sent, for whomever.

        What this host sends itself, quoting it, is for somebody else.
        """
        found = [self._data[begin:end] for begin, end in self._with(sign)]
        return sum(each == frame or each[:6] == self._mac or bool(each[0] & GROUP) for each in found)

    def came_back(self, frame: bytes, sign: bytes, sent: int) -> int:
        """For the sender's own capture: how often it is there beyond those that went out."""
        return max(0, sum(self._data[begin:end] == frame for begin, end in self._with(sign)) - sent)

    def _with(self, sign: bytes) -> Iterable[tuple[int, int]]:
        """Where the frames are that have these bytes."""
        places, at = set(), self._data.find(sign)
        while at >= 0:
            number = bisect_right(self._begins, at) - 1
            if number >= 0 and at + len(sign) <= self._frames[number][1]:
                places.add(self._frames[number])
            at = self._data.find(sign, at + 1)
        return places
