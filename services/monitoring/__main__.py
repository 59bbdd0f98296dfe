"""The exporter's process: ``python -m services.monitoring CONFIG.json``; asked at ``/SOURCE``, it answers for that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from services.monitoring.exporterserver import ExporterServer
from services.monitoring.metric import Source

#: by the source's name, its module and class: a host loads only those that it has
SOURCES = {
    "host": ("hostusage", "HostUsage"),
    "web": ("accesslog", "WebRequests"),
    "app": ("accesslog", "AppRequests"),
    "db": ("databasestatus", "DatabaseStatus"),
    "resolver": ("dnscounts", "DnsCounts"),
    "firewall": ("firewallcounts", "FirewallCounts"),
    "failover": ("failoverstatus", "FailoverStatus"),
    "detection": ("detectionstatus", "DetectionStatus"),
    "testbed": ("testbedstate", "TestbedState"),
}


def source(name: str) -> Callable[..., Source]:
    """The class of a source, which is made of its settings."""
    module, kind = SOURCES[name]
    made: Callable[..., Source] = getattr(import_module(f"services.monitoring.{module}"), kind)
    return made


def main(config: str) -> None:
    """Serve until killed."""
    given = json.loads(Path(config).read_text())
    sources = {name: source(name)(**settings) for name, settings in given["sources"].items()}
    ExporterServer(("127.0.0.1", given["port"]), sources).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
