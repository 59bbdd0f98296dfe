"""The ``capture`` benchmark: how it is judged, and that what it times is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pcaps
import pytest

from benchmarks import lossless_capture, sniff
from experiments.instruments.capture import CANARY_TYPE
from experiments.instruments.search import Search
from topo.errors import FoobarError


def pair(lost: float, searched: float) -> Mapping[str, Any]:
    """What a pair of the capture benchmark found, beside a Scapy that loses much and dissects 3000 packets a second."""
    ours, scapy = ({"sent": 1000, "lost": each, "requests": 9000.0} for each in (lost, 400))
    return {
        "seen": {lossless_capture.OURS: ours, lossless_capture.SCAPY: scapy},
        "speed": {lossless_capture.OURS: searched, lossless_capture.SCAPY: 3000.0, lossless_capture.STREAMS: 1000.0},
    }


@pytest.mark.parametrize(
    ("found", "ours", "met"),
    [
        ([pair(0, 60000)] * 5, [0, 60000, 60000], [True, True, True]),
        # a median would hide what was lost
        ([*[pair(0, 59000)] * 5, pair(1, 90000)], [1, 59000, 59000], [False, False, True]),
    ],
)
def test_captures_are_judged_by_what_they_lose_and_how_quickly_they_are_searched(
    found: list[Mapping[str, Any]], ours: list[float], met: list[bool]
) -> None:
    report = lossless_capture.report(found)
    judged = [each.judged("capture") for each in report.series]
    assert [each["ours"] for each in judged] == ours
    assert [each["met"] for each in judged] == met
    assert judged[0]["reference"] == 400 * len(found)
    assert f"with dumpcap: {1000 * len(found)} canaries on 2 links, beside 9000 requests a second" in report.notes[0]


def content(*canaries: int) -> bytes:
    """A capture of an answer and some canaries."""
    body = b"words " * 500
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    planted = (pcaps.ethernet(sniff.canary(number), CANARY_TYPE) for number in canaries)
    return pcaps.pcap(
        [*pcaps.stream(answer, range(0, 3500, 500), src=("10.0.3.11", 80), dst=("10.0.2.10", 40000)), *planted]
    )


def test_search_and_dissection_are_timed_on_the_same_frames() -> None:
    assert all(rate > 0 for rate in lossless_capture.speeds(content(7, 8)).values())
    assert (sniff.dissected(content(7, 8)), sniff.reassembled(content(7, 8))) == (10, 1)
    assert sniff.CANARY.findall(content(7, 8)) == [sniff.canary(7), sniff.canary(8)]


def test_a_search_that_finds_nothing_has_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless_capture, "Search", lambda secrets: Search(secrets[1:]))
    with pytest.raises(
        FoobarError, match=re.escape("of 9 frames Scapy dissected 9, with 1 answers in them, and the search found []")
    ):
        lossless_capture.speeds(content(7))
