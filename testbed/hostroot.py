"""A host's root file system, built from what it may see: the machine's programs, read-only, and folders of its own.

Nothing is taken away from the machine's files, so no type of file system and no mount can be forgotten. The part that
all hosts share is made once, in the box; ``host.sh`` puts a host's own folders, /proc, /sys and /dev on it and moves
in for good.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed import mounts
from topo import users
from topo.paths import PRIVATE, PROJECT, private
from topo.plan import DOMAIN, Plan

#: the shared part, in the box
ROOT = Path("/run/foobar/root")
SETUP = Path(__file__).parent / "host.sh"
#: the machine's programs and libraries, by the names that they have in `/`
PROGRAMS = ("usr", "bin", "sbin", "lib*")
#: the project and its Python, wherever a person keeps them
_KEPT = {str(PROJECT), sys.prefix, sys.base_prefix}
KEEP = [Path(path) for path in sorted(_KEPT) if not any(path.startswith(f"{other}/") for other in _KEPT)]
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "dev/ptmx": "pts/ptmx",
    "var/run": "/run",
    "var/tmp": "/tmp",
}
#: where each host mounts something of its own; on mnt, for a moment, what it lets go of
PLACES = ("proc", "sys", "dev/pts", "dev/shm", "run", "tmp", "root", "var/log", "var/lib", "mnt")
#: a host's own folders are file systems of their own, so that one that is full harms no other: MiB of each
SIZES = {"run": 64, "tmp": 256, "log": 256, "lib": 512, "root": 64}
#: files of /etc that each host has of its own
OWN = ("hosts", "hostname", "resolv.conf")
BUNDLE = "ssl/certs/ca-certificates.crt"


def setup(name: str, home: Path, *command: str) -> list[str]:
    """The command that makes a host of new namespaces, and ends as ``command`` in them."""
    return ["sh", str(SETUP), name, str(home), *command]


def fstab(home: Path) -> str:
    """The mounts that make a host's root file system in its namespaces, in the order of their making.

    In one file, since a process for each mount would be felt at every boot.
    """
    host = home / "top" / "host"
    settings = [name for name in (*OWN, BUNDLE) if (ROOT / "etc" / name).exists()]
    lines = [
        f"tmpfs {home}/top tmpfs size=64k,mode=755",
        f"{ROOT} {host} none rbind,X-mount.mkdir",
        *(f"{home}/{folder} {host}{place} none rbind" for place, folder in PRIVATE.items() if place != "/var/run"),
        *(f"{home}/etc/{name} {host}/etc/{name} none bind" for name in settings),
        f"devpts {host}/dev/pts devpts newinstance,ptmxmode=0666,mode=0620",
        f"tmpfs {host}/dev/shm tmpfs nosuid,nodev,size=64m,mode=1777",
        f"proc {host}/proc proc nosuid,nodev,noexec",
        f"{host}/proc/sys/net {host}/proc/sys/net none bind",
    ]
    return "".join(f"{line} 0 0\n" for line in lines)


def build() -> None:
    """Make the shared part. Raises MissingError where the kernel is too old for it."""
    ROOT.mkdir()
    mounts.tmpfs(ROOT, 16)
    for place in PLACES:
        (ROOT / place).mkdir(parents=True)
    for link, target in LINKS.items():
        (ROOT / link).symlink_to(target)
    for pattern in PROGRAMS:
        for path in Path("/").glob(pattern):
            _show(path)
    _show_settings()
    for device in DEVICES:
        if (path := Path("/dev") / device).exists():
            _show(path)
    for path in KEEP:
        if not any(path.is_relative_to(place) for place in ("/usr", *PRIVATE)):
            _show(path)
    mounts.read_only(ROOT)


def _show(path: Path) -> None:
    """Something of the machine, at the same place: a folder with all that is mounted in it, a device, a link."""
    target = ROOT / path.relative_to("/")
    if path.is_symlink():
        target.symlink_to(os.readlink(path))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mounts.bind(path, target)


def _show_settings() -> None:
    """/etc: all of it that every user of the machine may read, and nothing else. A host's root would read the rest."""
    (ROOT / "etc").mkdir()
    for name in OWN:
        (ROOT / "etc" / name).touch()
    for entry in os.scandir("/etc"):
        target = ROOT / "etc" / entry.name
        if entry.name in OWN:
            continue
        if entry.is_symlink() or (entry.is_dir() and _is_public(entry)):
            _show(Path(entry.path))
        elif entry.is_file() and _is_public(entry):
            shutil.copyfile(entry.path, target)
    for name, lines in zip(("passwd", "group"), users.accounts(), strict=True):
        path = ROOT / "etc" / name
        machines = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        path.write_text(f"{machines.rstrip()}\n{lines}".lstrip())
    folder, file = ROOT / ".nothing" / "folder", ROOT / ".nothing" / "file"
    folder.mkdir(parents=True)
    file.touch()
    for path in list(_secrets(ROOT / "etc")):
        mounts.bind(folder if path.is_dir() else file, path)


def _secrets(folder: Path) -> Iterator[Path]:
    """Files and folders that not every user may read."""
    with suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                continue
            if not _is_public(entry):
                yield Path(entry.path)
            elif entry.is_dir():
                yield from _secrets(Path(entry.path))


def _is_public(entry: os.DirEntry[str]) -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    return bool(mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))


def make_folders(home: Path) -> None:
    """A host's own folders, before anything is written there; made once."""
    for folder, size in SIZES.items():
        (home / folder).mkdir(parents=True, exist_ok=True)
        mounts.tmpfs(home / folder, size, mode=0o1777 if folder == "tmp" else 0o755)
    for path in KEEP:
        if any(path.is_relative_to(place) for place in PRIVATE):
            target = private(home, str(path))
            target.mkdir(parents=True, exist_ok=True)
            if not target.is_mount():
                mounts.bind(path, target)
                mounts.read_only(target)
    for folder in ("etc/ssl/certs", "top"):
        (home / folder).mkdir(parents=True, exist_ok=True)


def write_host_files(plan: Plan, name: str, home: Path, authority: str) -> None:
    """Write a host's files for /etc: names, resolver, trusted certificates.

    The public hosts know only themselves and ask DNS; the inner ones know each other and ask no DNS.
    """
    make_folders(home)
    own = plan.host(name)
    known = (own,) if own.zone == "internet" else plan.hosts
    lines = ["127.0.0.1 localhost", *(f"{host.ip} {host.name}" for host in known)]
    (home / "etc" / "hosts").write_text("\n".join(lines) + "\n")
    (home / "etc" / "hostname").write_text(f"{name}\n")
    resolver = f"search {DOMAIN}\nnameserver {plan.host('dns').ip}\noptions timeout:1 attempts:2\n"
    (home / "etc" / "resolv.conf").write_text(resolver)
    machines = Path("/etc") / BUNDLE
    bundle = machines.read_text() if machines.exists() else ""
    (home / "etc" / BUNDLE).write_text(bundle + authority)
    (home / "fstab").write_text(fstab(home))
