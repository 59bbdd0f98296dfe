"""The design space: one point of it is a Profile, one dimension of it is an axis.

An axis is declared once, as a field below; the command line, the validation and ``result.json`` follow from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from topo.errors import UsageError, among

MAX_SERVERS = 30


def axis(seed: Any, values: tuple[Any, ...], *, hardened: Any = None, later: tuple[Any, ...] = (), why: str) -> Any:
    """One dimension: its value in ``seed`` and in ``hardened``, all its values, and those that are still to come."""
    metadata = {
        "values": values,
        "hardened": seed if hardened is None else hardened,
        "later": frozenset(later),
        "why": why,
    }
    return field(default=seed, metadata=metadata)


@dataclass(frozen=True)
class Profile:
    """A point in the design space. ``Profile()`` is ``seed``: the write-ups' design with its weaknesses."""

    layout: str = axis("stacked", ("stacked", "tiered"), later=("tiered",), why="what runs on each server")
    tls: str = axis(
        "terminate",
        ("terminate", "reencrypt", "passthrough", "mutual"),
        hardened="mutual",
        why="where TLS ends",
    )
    db: str = axis(
        "single",
        ("single", "async", "semisync", "galera"),
        hardened="semisync",
        why="which database may take writes when the primary dies",
    )
    stack: str = axis(
        "uniform", ("uniform", "diverse"), hardened="diverse", later=("diverse",), why="are the servers alike"
    )
    monitoring: str = axis("on", ("on", "off"), why="metrics, logs and alerts: clients on the hosts, the tool on mon")
    waf: str = axis("off", ("off", "on"), hardened="on", why="a web application firewall in front of each application")
    ids: str = axis("off", ("off", "on"), hardened="on", why="intrusion detection, which blocks whoever attacks")
    firewall: str = axis("on", ("on", "off"), why="the three firewalls; off is the baseline to compare with")
    balance: str = axis("roundrobin", ("roundrobin", "leastconn", "source"), why="how HAProxy picks a server")
    health: str = axis(
        "default", ("default", "fast"), hardened="fast", why="how soon the balancer sees a dead server, and who retries"
    )
    limits: str = axis(
        "off", ("off", "on"), hardened="on", why="how much of the site one address, or guesses at one account, may use"
    )
    servers: int = axis(3, tuple(range(1, MAX_SERVERS + 1)), why="how many servers")

    def __post_init__(self) -> None:
        for axis in fields(self):
            _refuse_unknown(axis.name, getattr(self, axis.name), axis.metadata["values"])
        fewest = 3 if self.cluster else 2  # a cluster goes on only with a majority
        if self.db != "single" and self.servers == 1:
            raise UsageError(f"--db {self.db} --servers 1: no server could take over; use --servers {fewest} or more")
        if self.cluster and self.tls == "mutual":
            raise UsageError("--db galera --tls mutual: databases of a cluster are not encrypted; use --tls reencrypt")

        if self.detecting and not self.monitored:
            raise UsageError(
                "--ids on --monitoring off: detection reads what monitoring collects; use --monitoring on or --ids off"
            )

    @property
    def cluster(self) -> bool:
        """True if the databases agree among themselves which of them take writes."""
        return self.db == "galera"

    @property
    def managed(self) -> bool:
        """True if a failover manager decides which database takes writes."""
        return self.db in ("async", "semisync")

    @property
    def shielded(self) -> bool:
        """True if a web application firewall judges each request."""
        return self.waf == "on"

    @property
    def monitored(self) -> bool:
        """True if every host of the site has a monitoring client, and the monitoring host the tool."""
        return self.monitoring == "on"

    @property
    def detecting(self) -> bool:
        """True if attacks are looked for, and answered."""
        return self.ids == "on"

    def as_dict(self) -> dict[str, Any]:
        """Every axis and its value, in the order of declaration."""
        return {axis.name: getattr(self, axis.name) for axis in fields(self)}


def _refuse_unknown(name: str, value: Any, values: tuple[Any, ...]) -> None:
    if value in values:
        return
    if isinstance(values[0], int):
        raise UsageError(f"--{name} {value}: must be a whole number from {values[0]} to {values[-1]}")
    raise UsageError(f"--{name} {value}: unknown; possible values: {among(str(value), values)}")


SEED = Profile()
# every remedy that is built
_REMEDIES = {axis.name: axis.metadata["hardened"] for axis in fields(Profile)}
_TO_COME = {axis.name for axis in fields(Profile) if axis.metadata["hardened"] in axis.metadata["later"]}
HARDENED = replace(SEED, **{name: value for name, value in _REMEDIES.items() if name not in _TO_COME})
NAMED: Mapping[str, Profile] = {"seed": SEED, "hardened": HARDENED}


def refuse_later(profile: Profile) -> None:
    """Raise UsageError, naming every axis whose value is declared but not built yet: never silently ignore one."""
    pending = [axis for axis in fields(profile) if getattr(profile, axis.name) in axis.metadata["later"]]
    if not pending:
        return
    asked = ", ".join(f"--{axis.name} {getattr(profile, axis.name)}" for axis in pending)
    now = ", ".join(
        f"--{axis.name} {'|'.join(str(v) for v in axis.metadata['values'] if v not in axis.metadata['later'])}"
        for axis in pending
    )
    raise UsageError(f"{asked}: not built yet; available today: {now}")


def lacking(profile: Profile) -> str:
    """The remedies that ``hardened`` does not have today, as flags; empty for every other profile."""
    return ", ".join(f"--{name} {_REMEDIES[name]}" for name in sorted(_TO_COME)) if profile == HARDENED else ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser ``--profile`` and one flag for each axis."""
    group = parser.add_argument_group("profile", "the design to boot: a named point, then single axes changed")
    but = lacking(HARDENED) and f" but {lacking(HARDENED)}, not built yet"
    group.add_argument(
        "--profile", metavar="NAME", default="seed", help=f"seed (default) or hardened: every remedy{but}"
    )
    for axis in fields(Profile):
        values = axis.metadata["values"]
        shown = f"{values[0]}..{values[-1]}" if isinstance(values[0], int) else "|".join(values)
        group.add_argument(f"--{axis.name}", metavar=shown, help=f"{axis.metadata['why']} (seed: {axis.default})")


def from_flags(options: argparse.Namespace) -> Profile:
    """The Profile that a command line asks for. Raises UsageError for an unknown name or value."""
    if options.profile not in NAMED:
        raise UsageError(f"--profile {options.profile}: unknown; possible values: {among(options.profile, NAMED)}")
    changes: dict[str, Any] = {}
    for axis in fields(Profile):
        given = getattr(options, axis.name)
        if given is not None:
            changes[axis.name] = _whole_number(axis.name, given) if isinstance(axis.default, int) else given
    return replace(NAMED[options.profile], **changes)


def _whole_number(name: str, text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--{name} {text}: must be a whole number") from None
