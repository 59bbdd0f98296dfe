"""How Open vSwitch is told of switches: with room on a busy machine, and errors of our own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mininet import node
from mininet.node import OVSSwitch

from controllers.ovs import program
from testbed import network
from testbed.network import PlannedSwitch
from topo.errors import FoobarError


def refused(*_: object, **__: object) -> tuple[str, str, int]:
    """Open vSwitch on a machine that is too busy to answer Mininet within its second."""
    return "", "ovs-vsctl: database connection failed", 142


def test_a_slow_open_vswitch_does_not_end_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "errRun", refused)
    monkeypatch.setattr(node, "pathCheck", lambda *_, **__: None)
    monkeypatch.setattr(program, "run", lambda *_: "ovs-vsctl (Open vSwitch) 3.1.0\nDB Schema 8.3.1\n")
    PlannedSwitch.setup()
    assert PlannedSwitch.OVSVersion == "3.1"
    with pytest.raises(SystemExit):
        OVSSwitch.setup()


def test_what_open_vswitch_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, ...]] = []

    def run(*argv: str) -> str:
        lines.append(argv)
        if "bad" in argv:
            raise FoobarError("ovs-vsctl --: failed")
        return ""

    monkeypatch.setattr(network.program, "run", run)
    switch = SimpleNamespace(isOldOVS=lambda: False, intfs={})
    switch.commands = ["--", "add-br s1", '-- --id=@c create Controller target=\\"tcp:10.0.0.1:6653\\"']
    PlannedSwitch.batchStartup([switch])
    made = ("--id=@c", "create", "Controller", 'target="tcp:10.0.0.1:6653"')
    assert lines == [("ovs-vsctl", "--", "add-br", "s1", "--", *made)]
    switch.commands = ["bad"]
    with pytest.raises(FoobarError, match="failed"):
        PlannedSwitch.batchStartup([switch])
