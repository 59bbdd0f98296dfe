"""What the machine must have: everything missing in one line, with what to do about it."""

from __future__ import annotations

import io
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from services.mariadb import datadir
from testbed import preflight
from topo import folders
from topo.errors import MissingError, UsageError


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine with everything, run by root."""
    monkeypatch.setattr(shutil, "which", lambda program, path=None: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tun = tmp_path / "tun"
    tun.touch()
    monkeypatch.setattr(preflight, "TUN", tun)
    monkeypatch.setattr(datadir, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(folders, "opened", lambda path, **_: io.StringIO())
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    unshare(monkeypatch, 0)
    return monkeypatch


def unshare(monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: str = "") -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], returncode, stdout="", stderr=stderr)
    )


def said() -> str:
    with pytest.raises(MissingError) as caught:
        preflight.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_complete_machine_passes(complete: pytest.MonkeyPatch) -> None:
    preflight.check()


def test_missing_programs_are_all_named_with_their_packages(complete: pytest.MonkeyPatch) -> None:
    missing = {"nginx", "ovs-vsctl", "ovs-vswitchd"}
    complete.setattr(shutil, "which", lambda program, path=None: None if program in missing else program)
    assert said() == (
        "missing: ovs-vsctl, ovs-vswitchd, nginx (packages: nginx openvswitch-switch); "
        "run: sudo ./foobar, which installs them"
    )


def test_a_clusters_library_is_missed_where_there_is_to_be_a_cluster(
    complete: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libgalera_smm.so"
    complete.setattr(preflight, "CLUSTER", {str(library): "galera-4", "rsync": "rsync"})
    preflight.check()
    with pytest.raises(MissingError) as caught:
        preflight.check(cluster=True)
    assert str(caught.value) == (f"missing: {library} (packages: galera-4); run: sudo ./foobar, which installs them")
    library.touch()
    preflight.check(cluster=True)


@pytest.mark.parametrize(
    ("version", "line"),
    [
        ("22.04", "--waf on: Ubuntu 22.04 has no ModSecurity for its nginx; use --waf off, or Ubuntu 24.04"),
        ("24.04", "missing: /no/module.so (packages: module); run: sudo ./foobar, which installs them"),
    ],
)
def test_a_firewall_that_no_package_has_is_refused_with_what_to_do(
    complete: pytest.MonkeyPatch, tmp_path: Path, version: str, line: str
) -> None:
    release = tmp_path / "os-release"
    release.write_text(f'NAME="Ubuntu"\nVERSION_ID="{version}"\n')
    complete.setattr(preflight, "OS_RELEASE", release)
    complete.setattr(preflight, "SHIELD", {"/no/module.so": "module"})
    preflight.check()
    with pytest.raises(MissingError) as caught:
        preflight.check(shielded=True)
    assert str(caught.value) == line


def test_daemons_are_found_where_an_ordinary_users_path_does_not_look(
    complete: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = set()
    complete.setattr(shutil, "which", lambda program, path=None: paths.add(path) or program)
    preflight.check()
    assert paths == {preflight.SYSTEM_PATH}
    assert "/usr/sbin" in preflight.SYSTEM_PATH.split(":")


def test_an_ordinary_user_with_user_namespaces_passes(complete: pytest.MonkeyPatch) -> None:
    complete.setattr(os, "geteuid", lambda: 1000)
    unshare(complete, 0)
    preflight.check()


@pytest.mark.parametrize(
    ("switches", "remedy"),
    [
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"kernel/unprivileged_userns_clone": "0"}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"kernel/unprivileged_userns_clone": "1"}, "sysctl -w user.max_user_namespaces=10000"),
        ({}, "sysctl -w user.max_user_namespaces=10000"),
    ],
)
def test_without_user_namespaces_an_ordinary_user_is_told_what_to_change(
    complete: pytest.MonkeyPatch, tmp_path: Path, switches: dict[str, str], remedy: str
) -> None:
    complete.setattr(os, "geteuid", lambda: 1000)
    unshare(complete, 1, "unshare: unshare failed: Operation not permitted\n")
    exists, read = Path.exists, Path.read_text
    known = {f"/proc/sys/{name}": value for name, value in switches.items()}
    complete.setattr(
        Path, "exists", lambda self: str(self) in known if str(self).startswith("/proc/sys/") else exists(self)
    )
    complete.setattr(Path, "read_text", lambda self: f"{known[str(self)]}\n" if str(self) in known else read(self))
    assert said() == (
        f"namespaces are not permitted here (Operation not permitted); use sudo, or let an administrator run: {remedy}"
    )


def test_root_in_a_restricted_container_is_told_so(complete: pytest.MonkeyPatch) -> None:
    unshare(complete, 1, "unshare: unshare failed: Operation not permitted\n")
    assert said().startswith("namespaces are not permitted here (Operation not permitted); run on a machine or VM")


def test_a_kernel_without_veth_is_told_apart(complete: pytest.MonkeyPatch) -> None:
    unshare(complete, 2, "Error: Unknown device type.\n")
    assert said() == "this kernel makes no veth links (Error: Unknown device type.); run: sudo modprobe veth"


def test_a_device_that_may_not_be_opened_is_named(complete: pytest.MonkeyPatch, tmp_path: Path) -> None:
    complete.setattr(preflight, "_opens", lambda path: False)
    _without_the_kernels_switch(complete)
    assert said() == f"{tmp_path}/tun is not accessible; run: sudo chmod 0666 {tmp_path}/tun"


def test_a_device_that_is_not_there_needs_its_module(complete: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tun").unlink()
    _without_the_kernels_switch(complete)
    assert said() == f"{tmp_path}/tun is not accessible; run: sudo modprobe tun"


def test_no_device_is_needed_where_the_kernel_has_a_switch(complete: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also while its module is not loaded: the kernel does that when it is asked for its datapaths."""
    (tmp_path / "tun").unlink()
    exists = Path.exists
    complete.setattr(Path, "exists", lambda self: str(self) != "/sys/module/openvswitch" and exists(self))
    preflight.check()


def _without_the_kernels_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, int(argv[0] == "ovs-dpctl"), stdout="", stderr="")

    monkeypatch.setattr(subprocess, "run", run)


def test_a_low_limit_of_open_files_is_raised_where_that_is_permitted(complete: pytest.MonkeyPatch) -> None:
    asked = []
    complete.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    complete.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    preflight.check()
    assert asked == [(preflight.FILES, preflight.FILES)]


def test_a_low_limit_of_open_files_that_stays_is_said(complete: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    complete.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    complete.setattr(resource, "setrlimit", refuse)
    assert said().startswith("a process may open 1024 files here, and 16384 are needed; as root run: prlimit --pid ")


def test_a_root_that_lacks_a_capability_is_told_which(complete: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    complete.setattr(preflight, "STATUS", status)
    everything = sum(1 << bit for bit in range(41))
    status.write_text(f"CapEff:\t{everything:016x}\n")
    preflight.check()
    status.write_text(f"CapEff:\t{everything & ~(1 << 8) & ~(1 << 13):016x}\n")
    assert said().startswith("root may not setpcap, net_raw here; run on a machine or VM of your own")


def test_a_home_that_takes_nothing_is_said_at_the_start(complete: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("/nonexistent: Permission denied")

    complete.setattr(folders, "opened", refuse)
    with pytest.raises(UsageError, match=r"^/nonexistent: Permission denied; XDG_CACHE_HOME names another place"):
        preflight.check()


def test_a_project_whose_path_python_would_split_is_refused(complete: pytest.MonkeyPatch) -> None:
    complete.setattr(preflight, "PROJECT", Path("/home/a:b"))
    with pytest.raises(UsageError, match=r"^/home/a:b: Python takes the colon for the end of the path"):
        preflight.check()
