"""Preflight: the programs and rights that a box needs, looked for first, so that no boot fails half-way for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from controllers.ovs import vsctl
from services.mariadb.mariadb import GALERA
from topo import wait
from topo.errors import MissingError

PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "pivot_root": "util-linux",
    "tini": "tini",
    "ip": "iproute2",
    "ifconfig": "net-tools",
    "hostname": "hostname",
    "mnexec": "mininet",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "nsd": "nsd",
    "dumpcap": "wireshark-common",
    "curl": "curl",
}
#: with --db galera besides: its library, and how a database is sent whole
CLUSTER = {GALERA: "galera-4", "rsync": "rsync"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TUN = Path("/dev/net/tun")


def check(*, cluster: bool = False) -> None:
    """Raise MissingError with one line that names everything missing and what to do."""
    wanted = {**PACKAGES, **(CLUSTER if cluster else {})}
    missing = [name for name in wanted if not _is_there(name)]
    if missing:
        packages = sorted({wanted[name] for name in missing})
        raise MissingError(
            f"missing: {', '.join(missing)} (packages: {' '.join(packages)}); run: sudo ./foobar, which installs them"
        )
    _check_namespaces(as_user=os.geteuid() != 0)
    # asked as the boot asks: the kernel loads Open vSwitch's module by itself then, and needs no TUN device
    if not _opens(TUN) and vsctl.detect_datapath() == "user":
        raise MissingError(f"{TUN} is not accessible; run: {_tun_remedy()}")


def _is_there(what: str) -> bool:
    """A program, or a file by its path."""
    return Path(what).exists() if what.startswith("/") else bool(shutil.which(what, path=SYSTEM_PATH))


def _check_namespaces(*, as_user: bool) -> None:
    """Make the namespaces of a box, and a pair of linked interfaces in them, for an instant."""
    user = ("--user", "--map-root-user") if as_user else ()
    kinds = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork")
    tried = wait.for_command(
        ["unshare", *user, *kinds, "ip", "link", "add", "type", "veth"], env={"PATH": SYSTEM_PATH, "LC_ALL": "C"}
    )
    if not tried.returncode:
        return
    reason = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
    if not reason.startswith("unshare"):
        raise MissingError(f"this kernel makes no veth links ({reason}); run: sudo modprobe veth")
    if as_user:
        remedy = f"use sudo, or let an administrator run: {_user_namespace_remedy()}"
    else:
        remedy = "run on a machine or VM of your own: this one is a container that is not allowed to make any"
    raise MissingError(f"namespaces are not permitted here ({reason.rsplit(': ', 1)[-1]}); {remedy}")


def _user_namespace_remedy() -> str:
    for switch, value in (
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
        ("kernel.unprivileged_userns_clone", "1"),
    ):
        path = Path("/proc/sys") / switch.replace(".", "/")
        if path.exists() and path.read_text().strip() != value:
            return f"sysctl -w {switch}={value}"
    return "sysctl -w user.max_user_namespaces=10000"


def _tun_remedy() -> str:
    if not TUN.exists():
        return "sudo modprobe tun"
    return f"sudo chmod 0666 {TUN}"


def _opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True
