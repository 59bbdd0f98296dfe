"""Check ``software``: the packages of all programs and libraries that run, against the newest of the distribution.

The newest is what the machine's own lists of packages say: nothing is asked over the network. Where these are missing
or old it is unknown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from testbed.audit.auditor import Auditor, Places
from testbed.audit.finding import LOW, MEDIUM, Finding, Unknown
from topo import wait
from topo.paths import PROJECT

LISTS, INSTALLED = Path("/var/lib/apt/lists"), "/var/lib/dpkg/status"
#: the place of a host's files in its mounts (host.sh), as seen from the box
HOST_ROOT = "/host"
OLDEST_DAYS = 14.0
SECONDS = 30.0
#: of Python's packages, those that the site runs with or that guard something
PYTHON = ("cryptography", "flask", "flask-wtf", "gunicorn", "itsdangerous", "jinja2", "pymysql", "werkzeug")
PINS = PROJECT / "vagrant" / "constraints.txt"
REFERENCE = "CIS Controls v8, 7.3 and 7.4"
_BLOCK = re.compile(
    r"^(\S+):\n  Installed: (\S+)\n  Candidate: (\S+)\n  Version table:\n((?:[ *].*\n?)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Package:
    """One package; ``sources``: where its newest version is listed, beside the machine's own record."""

    name: str
    installed: str
    newest: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class MachineSoftware:
    """``age_days``: of the newest of the machine's lists of packages; ``replaced``: libraries in use that are gone."""

    packages: Sequence[Package]
    age_days: float
    replaced: Sequence[str]


@dataclass(frozen=True)
class PinnedSoftware:
    """Versions by name: those that run, and those that the project's set-up installs."""

    installed: Mapping[str, str]
    pinned: Mapping[str, str]


def places(auditor: Auditor) -> Places[MachineSoftware]:
    """The machine, which all hosts share."""
    yield "the machine", partial(_machine, auditor)


def pin_places(_: Auditor) -> Places[PinnedSoftware]:
    """Python's packages, which all parts of ours share."""
    yield "Python", lambda: PinnedSoftware({name: metadata.version(name) for name in PYTHON}, pins(PINS.read_text()))


def _machine(auditor: Auditor) -> MachineSoftware:
    running = [one for host in auditor.plan.hosts for one in auditor.processes(host) if one.service]
    seen = {file for one in running for file in (one.program, *one.libraries)}
    files = {name for file in seen if not (name := file.removeprefix(HOST_ROOT)).startswith(str(PROJECT))}
    replaced = sorted(file for file in files if file.endswith(" (deleted)"))
    names = owners(_said("dpkg", "-S", *sorted(existing(files - set(replaced)))))
    if not names:
        raise FileNotFoundError("no package here is dpkg's")
    return MachineSoftware(packages(_said("apt-cache", "policy", *names)), _age(), replaced)


def existing(files: Iterable[str]) -> Iterator[str]:
    """The files, each under its own name and under the one from before /usr was all."""
    for file in files:
        yield from (file, file.removeprefix("/usr"))


def _said(*command: str) -> str:
    """A command's output; some of what dpkg is asked for belongs to no package, which it takes for an error."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    return wait.for_command(command, seconds=SECONDS, env=environment).stdout


def _age() -> float:
    lists = [path.stat().st_mtime for path in LISTS.glob("*Release")]
    return (time.time() - max(lists)) / 86400 if lists else float("inf")


def owners(text: str) -> list[str]:
    """The packages that ``dpkg -S`` names."""
    owned = [line.rpartition(": ")[0] for line in text.splitlines() if not line.startswith("diversion")]
    return sorted({name.strip().partition(":")[0] for line in owned for name in line.split(",") if name.strip()})


def packages(text: str) -> list[Package]:
    """The packages as ``apt-cache policy`` says."""
    return [
        Package(name, installed, newest, tuple(_sources(table, newest)))
        for name, installed, newest, table in _BLOCK.findall(text)
        if installed != "(none)"
    ]


def _sources(table: str, version: str) -> Iterator[str]:
    """The archives that list a version."""
    listed = False
    for line in table.splitlines():
        if not line.startswith("        "):
            listed = line.strip().removeprefix("*** ").split()[0] == version
        elif listed and (source := line.split(None, 1)[1].strip()) != INSTALLED:
            yield source


def pins(text: str) -> dict[str, str]:
    """The versions of a file of constraints, by normalised name."""
    rows = (line.partition("#")[0].strip().partition("==") for line in text.splitlines())
    return {name.lower().replace("_", "-"): version for name, _, version in rows if version}


def judge(facts: MachineSoftware) -> Iterator[Finding | Unknown]:
    """Packages that are older than the newest; and libraries that were replaced while they were used."""
    for library in facts.replaced:
        evidence = "a process still runs the version that was replaced"
        yield Finding("software-replaced", MEDIUM, library, evidence, "down and up", REFERENCE)
    if facts.age_days > OLDEST_DAYS:
        why = "there are no lists of packages" if facts.age_days == float("inf") else f"{facts.age_days:.0f} days old"
        yield Unknown("software", "the newest versions", f"{why}: apt-get update")
        return
    for package in facts.packages:
        if not package.sources:
            yield Unknown("software", package.name, "no archive lists it: its newest version is not known")
        elif package.newest != package.installed:
            severity = MEDIUM if any("security" in source for source in package.sources) else LOW
            evidence = f"{package.installed} is installed, {package.newest} is the newest ({package.sources[0]})"
            yield Finding("software-old", severity, package.name, evidence, "apt-get upgrade", REFERENCE)


def judge_pins(facts: PinnedSoftware) -> Iterator[Finding | Unknown]:
    """Python's packages, against the versions that the project was tested with."""
    for name, installed in facts.installed.items():
        if name not in facts.pinned:
            yield Unknown("python", name, f"{PINS.name} does not name it")
        elif facts.pinned[name] != installed:
            evidence = f"{installed} is installed, {facts.pinned[name]} was tested"
            yield Finding("software-pin", LOW, f"Python: {name}", evidence, "vagrant/provision.sh", REFERENCE)
