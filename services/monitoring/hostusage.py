"""A host's use of the machine: its own processes, interfaces and disks; never the machine's, whose kernel it shares."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class HostUsage(Collector):
    """Asked every second."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("host_clock_seconds", "The host's clock, as a Unix time.", value=time.time())
        yield from self._interfaces()

    def _interfaces(self) -> Iterator[Metric]:
        received = CounterMetricFamily("host_network_receive_bytes", "Bytes received.", labels=["interface"])
        sent = CounterMetricFamily("host_network_transmit_bytes", "Bytes sent.", labels=["interface"])
        with open("/proc/net/dev") as lines:
            for line in list(lines)[2:]:
                name, _, numbers = line.partition(":")
                values = numbers.split()
                received.add_metric([name.strip()], int(values[0]))
                sent.add_metric([name.strip()], int(values[8]))
        yield received
        yield sent
