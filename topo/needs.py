"""What the machine must have before a box can be made: asked for first, so that a boot never fails half-way for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from topo.errors import MissingError

PACKAGES = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
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
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TUN = Path("/dev/net/tun")


def check() -> None:
    """Raise MissingError with one line that names everything missing and what to do."""
    missing = [program for program in PACKAGES if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise MissingError(
            f"missing: {', '.join(missing)} (packages: {' '.join(packages)}); run: sudo ./foobar, which installs them"
        )
    if os.geteuid() != 0:
        _check_unprivileged()
    if not _opens(TUN) and not Path("/sys/module/openvswitch").exists():
        raise MissingError(f"{TUN} is not accessible; run: {_tun_remedy()}")


def _check_unprivileged() -> None:
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        reason = tried.stderr.strip().rsplit(": ", 1)[-1]
        raise MissingError(
            f"user namespaces are not permitted here ({reason}); use sudo, or let an administrator run: "
            + _user_namespace_remedy()
        )


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
