"""What the controller wants of its switches: the flows it was given, and the fences that were asked for since.

Fences are kept in a file, so that a controller that dies and comes back still wants them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from topo.errors import UsageError, among

#: a flow as Flow.as_dict() writes it
FlowDict = dict[str, Any]


class Wanted:
    """``given``: compile.controller_file's text; ``kept``: where the fences in force are remembered."""

    def __init__(self, given: Path, kept: Path) -> None:
        content = json.loads(given.read_text())
        self.switches: dict[str, str] = content["switches"]
        self._flows: dict[str, list[FlowDict]] = content["flows"]
        self._fences: dict[str, dict[str, list[FlowDict]]] = content["fences"]
        self.rules: dict[int, str | None] = {int(cookie): name for cookie, name in content["rules"].items()}
        self.hosts: dict[str, str] = content["hosts"]
        self._kept = kept

    @property
    def fences(self) -> list[str]:
        """The hosts whose databases are fenced."""
        return fences(self._kept)

    def flows(self, dpid: str) -> list[FlowDict]:
        """All that a switch shall hold."""
        fenced = [self._fences[host] for host in self.fences]
        return [*self._flows[dpid], *(flow for fence in fenced for flow in fence.get(dpid, []))]

    def fence(self, host: str) -> dict[str, list[FlowDict]]:
        """From now on ``host`` is fenced; what that adds, by dpid. Raises UsageError, naming the possible ones."""
        flows = self._fence(host)
        self._keep({*self.fences, host})
        return flows

    def unfence(self, host: str) -> dict[str, list[FlowDict]]:
        """From now on ``host`` is not fenced; what that takes away, by dpid."""
        flows = self._fence(host)
        self._keep({*self.fences} - {host})
        return flows

    def _fence(self, host: str) -> dict[str, list[FlowDict]]:
        if host not in self._fences:
            raise UsageError(f"{host}: no host with a database; those are: {among(host, self._fences)}")
        return self._fences[host]

    def _keep(self, hosts: set[str]) -> None:
        replace(self._kept, json.dumps(sorted(hosts)))


def fences(kept: Path) -> list[str]:
    """The fenced hosts that a controller's file names."""
    hosts: list[str] = json.loads(kept.read_text()) if kept.exists() else []
    return hosts


def replace(path: Path, text: str) -> None:
    """Write a file whole: whoever reads it sees the old text or the new one."""
    partial = path.with_suffix(".part")
    partial.write_text(text)
    partial.replace(path)
