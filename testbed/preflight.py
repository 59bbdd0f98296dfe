"""Preflight: the programs and rights that a box needs, looked for first, so that no boot fails half-way for them."""

from __future__ import annotations

import os
import re
import resource
import shutil
from pathlib import Path

from controllers.ovs import vsctl
from services.mariadb import datadir
from services.mariadb.mariadb import GALERA
from testbed.namespaces import BEYOND, CAPABILITIES
from topo import folders, wait
from topo.environment import SYSTEM_PATH
from topo.errors import MissingError, UsageError
from topo.paths import PROJECT

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
#: with --monitoring on besides
MONITORING = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "vmagent": "victoria-metrics",
}
#: with --waf on besides; Ubuntu 22.04 has no such module for its nginx
SHIELD = {
    "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so": "libnginx-mod-http-modsecurity",
    "/usr/share/modsecurity-crs/rules/REQUEST-941-APPLICATION-ATTACK-XSS.conf": "modsecurity-crs",
}
#: with --db galera besides: its library, and how a database is sent whole
CLUSTER = {GALERA: "galera-4", "rsync": "rsync"}
TUN = Path("/dev/net/tun")
OS_RELEASE = Path("/etc/os-release")
FILES = 16_384
STATUS = Path("/proc/self/status")
ELSEWHERE = "run on a machine or VM of your own: this one is a container that lacks the right"
#: of the box itself, beside those that a host has
BOX_CAPABILITIES = {"sys_chroot": 18, "sys_admin": 21}


def check(*, cluster: bool = False, monitored: bool = False, shielded: bool = False) -> None:
    """Raise MissingError, or UsageError for a folder, with one line that names what is missing and what to do."""
    beside = ((CLUSTER, cluster), (MONITORING, monitored), (SHIELD, shielded))
    wanted = PACKAGES | {name: package for more, asked in beside if asked for name, package in more.items()}
    missing = [name for name in wanted if not _is_there(name)]
    if set(missing) & set(SHIELD) and _is_jammy():
        raise MissingError("--waf on: Ubuntu 22.04 has no ModSecurity for its nginx; use --waf off, or Ubuntu 24.04")
    if missing:
        packages = sorted({wanted[name] for name in missing})
        raise MissingError(
            f"missing: {', '.join(missing)} (packages: {' '.join(packages)}); run: sudo ./foobar, which installs them"
        )
    _allow_files()
    if os.geteuid() == 0:  # an ordinary user has them all in a user namespace
        _check_capabilities(STATUS.read_text())
    _check_namespaces(as_user=os.geteuid() != 0)
    # asked as the boot asks: the kernel loads Open vSwitch's module by itself then, and needs no TUN device
    if not _opens(TUN) and vsctl.detect_datapath() == "user":
        raise MissingError(f"{TUN} is not accessible; run: {_tun_remedy()}")
    _check_folders()


def _check_folders() -> None:
    if ":" in str(PROJECT):
        raise UsageError(f"{PROJECT}: Python takes the colon for the end of the path; move the project elsewhere")
    try:
        folders.opened(datadir.cache(), make=True, private=True).close()
    except UsageError as error:
        raise UsageError(f"{error}; XDG_CACHE_HOME names another place for what is made once") from None


def _allow_files() -> None:
    """Raise the limit of open files for all that this process starts: the balancer needs two for each visitor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(hard, FILES)))
        except (ValueError, OSError):
            raise MissingError(
                f"a process may open {hard} files here, and {FILES} are needed; as root run: prlimit"
                f" --pid {os.getppid()} --nofile={FILES}"
            ) from None


def _is_there(what: str) -> bool:
    """A program, or a file by its path, which may be a pattern."""
    return any(Path("/").glob(what[1:])) if what.startswith("/") else bool(shutil.which(what, path=SYSTEM_PATH))


def _is_jammy() -> bool:
    return OS_RELEASE.exists() and 'VERSION_ID="22.04"' in OS_RELEASE.read_text()


def _check_capabilities(status: str) -> None:
    """Without one of them a boot fails half-way, or, without setpcap, a host would keep more rights than it should."""
    held = int(re.findall(r"CapEff:\s*([0-9a-f]+)", status)[0], 16)
    missing = [name for name, bit in (CAPABILITIES | BEYOND | BOX_CAPABILITIES).items() if not held >> bit & 1]
    if missing:
        raise MissingError(f"root may not {', '.join(missing)} here; {ELSEWHERE}")


def _check_namespaces(*, as_user: bool) -> None:
    """Make the namespaces of a box, and a pair of linked interfaces in them, for an instant."""
    user = ("--user", "--map-root-user") if as_user else ()
    kinds = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork")
    tried = wait.for_command(
        ["unshare", *user, *kinds, "ip", "link", "add", "type", "veth"], env={"PATH": SYSTEM_PATH, "LC_ALL": "C"}
    )
    if not tried.returncode:
        return
    reason = wait.last_line(tried.stderr) or f"status {tried.returncode}"
    if not reason.startswith("unshare") and "not permitted" not in reason:
        raise MissingError(f"this kernel makes no veth links ({reason}); run: sudo modprobe veth")
    if as_user:
        remedy = f"use sudo, or let an administrator run: {_user_namespace_remedy()}"
    else:
        remedy = ELSEWHERE
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
