"""The provenance of a result: the code, the programs and the machine, so that it can be made again."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from topo import profile
from topo.paths import PROJECT

PROGRAMS = {
    "haproxy": ("haproxy", "-v"),
    "nginx": ("nginx", "-v"),
    "mariadb": ("mariadbd", "--version"),
    "nsd": ("nsd", "-v"),
    "openvswitch": ("ovs-vswitchd", "--version"),
    "dumpcap": ("dumpcap", "--version"),
}
LIBRARIES = ("mininet", "ryu", "scapy", "flask", "gunicorn")


def provenance(argv: list[str], datapath: str) -> dict[str, Any]:
    """The ``provenance`` of result.json."""
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit or None,
        "dirty": bool(_git("status", "--porcelain")) if commit else None,
        "versions": _versions(),
        "argv": argv,
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "datapath": datapath,
    }


@cache
def _versions() -> dict[str, str]:
    """Asked once: versions do not change while we run."""
    versions = {"python": platform.python_version()}
    versions |= {library: metadata.version(library) for library in LIBRARIES}
    return versions | {program: _first_line(*command) for program, command in PROGRAMS.items()}


def _git(*arguments: str) -> str:
    """git's answer; empty where the project is no clone. Root may ask about a clone that belongs to a person."""
    command = ("git", "-c", f"safe.directory={PROJECT}", "-C", str(PROJECT), *arguments)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _first_line(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (result.stdout + result.stderr).strip().splitlines()[0]


def again(result: Mapping[str, Any]) -> str:
    """The command that repeats a run: every choice that was made, typed out."""
    seed = profile.SEED.as_dict()
    flags = {axis: value for axis, value in result["profile"].items() if value != seed.get(axis)}
    flags |= {"seed": result["seed"], **({"repeat": result["repeat"]} if result.get("repeat") else {})}
    words = [part for name, value in (flags | result.get("options", {})).items() for part in (f"--{name}", str(value))]
    return shlex.join(["sudo", ".venv/bin/python", "-m", "experiments", "run", result["experiment"], *words])


def command_line() -> list[str]:
    """The command that started this process, as a person would type it again."""
    return [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]
