"""What happens on an emulated host stays there: the machine, its files of whatever type, and the other hosts are safe.

The testbed is booted in a mount namespace of the test's own, as root and as an ordinary user. There the machine's files
are read-only, so that a failing test does no harm, but for one folder that hosts see, with a file system of every type
that can be mounted here. What a host tries, it tries with system calls: a shell's tools would give up by themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from runningtestbed import PROJECT, Commands, RunningTestbed

from testbed import hostroot
from testbed.namespaces import BEYOND, CAPABILITIES
from topo import wait
from topo.paths import PRIVATE
from topo.plan import SITE

pytestmark = pytest.mark.root

NOBODY = 65534
AS_USER = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
#: a folder of the machine that hosts see; here with something else mounted on it
GIVEN_UP = Path("/usr/games")
#: a folder that hosts have no business in: the first in which neither the project lies nor its Python
UNSEEN = next(
    path for path in map(Path, ("/srv", "/opt", "/media")) if all(path not in kept.parents for kept in hostroot.KEEP)
)
#: what a host may do with a folder of its own; everything else is refused even there
OWN = {"ask", "write", "chmod", "remove"}
REFUSED = {"EPERM", "EROFS", "EACCES", "ENOSYS"}

#: the kernel's capabilities, in its order, as far as a host has any
KERNELS = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
)
FOLDERS = sorted({*PRIVATE, "/dev/shm"} - {"/var/run"})

# The preparation, as root, in a mount namespace of the test's own; then the command. /tmp and $1 stay writable
PREPARE = f"""
set -e
keep=$1 cache=$2
shift 2
for path in /tmp "$keep" "$cache"; do mount --bind "$path" "$path"; done
mount -t tmpfs tmpfs {UNSEEN} && touch {UNSEEN}/marker
{sys.executable} -c 'from pathlib import Path; from testbed.mounts import read_only; read_only(Path("/"))'
mount -t proc proc /proc
for path in /tmp "$keep" "$cache"; do mount -o remount,bind,rw "$path"; done
mount -t tmpfs -o mode=777 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -t tmpfs -o mode=777 tmpfs {GIVEN_UP}
here=$PWD
cd {GIVEN_UP}
try() {{  # NAME COMMAND...: mounted on the folder of that name; a folder as marker in it
    kind=$1
    shift
    mkdir "$kind"
    if "$@" "$kind" 2>/dev/null; then
        mkdir -m 777 "$kind/{{marker}}" 2>/dev/null || true
    else rmdir "$kind"
    fi
}}
try folder true
for kind in tmpfs ramfs devtmpfs sysfs proc mqueue hugetlbfs bpf cgroup2 debugfs tracefs securityfs pstore; do
    try $kind mount -t $kind $kind
done
try cgroup mount -t cgroup -o none,name={{marker}} cgroup
shm() {{ mount --bind /dev/shm "$1" && mount -o remount,bind,rw "$1"; }}
try shm shm
mkdir .lower .upper .work
try overlay mount -t overlay -o lowerdir=.lower,upperdir=.upper,workdir=.work overlay
truncate -s 8M .ext4
! mkfs.ext4 -q .ext4 2>/dev/null || try ext4 mount -o loop .ext4
! command -v bindfs >/dev/null || try fuse bindfs .lower
cd "$here"
exec "$@"
"""

TIDY = """
rm -rf /dev/shm/"$1"
for kind in devtmpfs cgroup2 mqueue bpf; do
    ! mount -t $kind $kind /mnt 2>/dev/null || rmdir /mnt/"$1" 2>/dev/null || rm -rf /mnt/"$1"
done
"""

# On a host: each attempt -> "done" or the name of the error
PROBE = r"""
import ctypes, errno, json, os, stat, sys, time
libc = ctypes.CDLL(None, use_errno=True)
found = {}
def attempt(name, act):
    try:
        act()
        found[name] = "done"
    except OSError as error:
        found[name] = errno.errorcode[error.errno]
def call(function, *arguments):
    ctypes.set_errno(0)
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
def text(path):
    return os.fsencode(path)
"""

ON_FOLDERS = (
    PROBE
    + r"""
MARKER = sys.argv[1]
def write():
    os.close(os.open(f"{place}/written", os.O_CREAT | os.O_WRONLY))
    os.remove(f"{place}/written")
def ask():
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "")
for folder in sys.argv[2:]:
    place = f"{folder}/{MARKER}"
    attempt(f"{folder} ask", ask)
    if os.path.isdir(place):
        attempt(f"{folder} write", write)
        attempt(f"{folder} chmod", lambda: os.chmod(place, 0o700))
        attempt(f"{folder} mknod", lambda: os.mknod(f"{place}/node", 0o666 | stat.S_IFCHR, os.makedev(1, 3)))
        attempt(f"{folder} remove", lambda: os.rmdir(place))
    for name, flags in (("umount", 0), ("umount lazily", 2)):
        attempt(f"{folder} {name}", lambda: call(libc.umount2, text(folder), flags))
    for name, flags in (("remount", 32 | 4096), ("bind", 4096), ("move", 8192)):
        attempt(f"{folder} {name}", lambda: call(libc.mount, b"/tmp", text(folder), None, ctypes.c_ulong(flags), None))
    attempt(f"{folder} cover", lambda: call(libc.mount, b"tmpfs", text(folder), b"tmpfs", ctypes.c_ulong(0), None))
print(json.dumps(found))
"""
)

ON_THE_SYSTEM = (
    PROBE
    + r"""
now = (ctypes.c_long * 2)(int(time.time()), 0)
attempt("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
attempt("reboot", lambda: call(libc.reboot, 0))
attempt("module", lambda: call(libc.init_module, None, 0, b""))
attempt("swapoff", lambda: call(libc.swapoff, b"/nothing"))
attempt("hostname", lambda: call(libc.sethostname, b"other", 5))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
for kind in ("proc", "sysfs", "cgroup2", "devpts", "mqueue"):
    attempt(f"mount {kind}", lambda: call(libc.mount, text(kind), b"/tmp", text(kind), ctypes.c_ulong(0), None))
if os.path.exists("/proc/sysrq-trigger"):
    attempt("trigger", lambda: os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY)))
for place, folders, files in os.walk("/proc/sys"):
    if place == "/proc/sys" and "net" in folders:
        folders.remove("net")
    for file in files:
        attempt(f"{place}/{file}", lambda: os.close(os.open(f"{place}/{file}", os.O_WRONLY)))
for file in ("/dev/null", "/dev/tty", "/dev/urandom"):
    attempt(f"chmod {file}", lambda: os.chmod(file, 0o600))
    attempt(f"remove {file}", lambda: os.remove(file))
attempt("a node in /dev", lambda: os.mknod("/dev/node", 0o666 | stat.S_IFCHR, os.makedev(1, 3)))
kinds = {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000, "cgroup": 0x2000000}
for name, flag in kinds.items():
    attempt(f"a {name} namespace", lambda: call(libc.unshare, flag))
attempt("chroot", lambda: os.chroot("/tmp"))
print(json.dumps(found))
"""
)

#: every process of a host: its capabilities, and the folders that it holds open and that no path leads to
PROCESSES = r"""
import json, os
rows = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        lines = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
        fds = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        held = {fd: os.readlink(fd) for fd in fds if os.path.isdir(fd)}
    except OSError:
        continue
    sets = [int(lines[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    folders = [path for fd, path in held.items() if not (os.path.isdir(path) and os.path.samefile(fd, path))]
    rows.append([lines["Name"], sets, folders])
print(json.dumps(rows))
"""


class ExposedMachine(Commands):
    """The command line, and the machine as the testbed's launcher sees it."""

    def __init__(self, folder: Path, *, user: bool) -> None:
        self.user = user
        self.marker = f"foobar-probe-{os.getpid()}-{'user' if user else 'root'}"
        home = folder / "home"
        super().__init__(home / "state", {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"})
        self.state.mkdir(parents=True)
        self.cache = (home if user else Path.home()) / ".cache" / "foobar"
        self.cache.mkdir(parents=True, exist_ok=True)
        self.environment["XDG_CACHE_HOME"] = str(self.cache.parent)
        if user:
            folder.chmod(0o755)
            for path in (home, self.state, self.cache.parent, self.cache):
                shutil.chown(path, NOBODY, NOBODY)

    def argv(self, *words: str) -> list[str]:
        command = [*(AS_USER if self.user else ()), *super().argv(*words)]
        if words[0] != "up":
            return command
        script = PREPARE.replace("{marker}", self.marker)
        return ["unshare", "--mount", "sh", "-c", script, "sh", str(self.state.parent), str(self.cache), *command]

    def place(self, path: Path) -> Path:
        """A path of the machine as the testbed's launcher sees it."""
        return Path(f"/proc/{self.entry('safe')['launcher']}/root") / path.relative_to("/")

    def folders(self) -> list[str]:
        """The folders that are given up, each of another type."""
        return sorted(path.name for path in self.place(GIVEN_UP).iterdir() if not path.name.startswith("."))

    def markers(self) -> dict[str, int | None]:
        """For each, its marker's mode; None where there could be none."""
        places = {name: self.place(GIVEN_UP) / name / self.marker for name in self.folders()}
        return {name: place.stat().st_mode & 0o777 if place.is_dir() else None for name, place in places.items()}

    def tidy(self) -> None:
        """Remove the markers from those of these file systems that are the machine's."""
        subprocess.run(["unshare", "--mount", "sh", "-c", TIDY, "sh", self.marker], check=True)


@pytest.fixture(scope="module", params=["root", "user"])
def safe(request: pytest.FixtureRequest) -> Iterator[RunningTestbed]:
    # not pytest's: an ordinary user's way to those may be closed by another pytest
    folder = Path(tempfile.mkdtemp(prefix="safe-", dir="/tmp"))
    commands = ExposedMachine(folder, user=request.param == "user")
    try:
        done = commands("up", "--detach", "--name", "safe", seconds=120)
        if "user namespaces are not permitted" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout + done.stderr
        yield RunningTestbed(commands, "safe")
    finally:
        commands("down", "--all", seconds=240)
        commands.tidy()
        shutil.rmtree(folder)


def machine(bed: RunningTestbed) -> ExposedMachine:
    assert isinstance(bed.commands, ExposedMachine)
    return bed.commands


def tried(bed: RunningTestbed, host: str, probe: str, *words: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(bed.run(host, "python3", "-ISE", "-c", probe, *words))
    return found


def processes(bed: RunningTestbed, host: str) -> list[tuple[str, list[int], list[str]]]:
    rows: list[tuple[str, list[int], list[str]]] = json.loads(bed.run(host, "python3", "-ISE", "-c", PROCESSES))
    return rows


def test_the_machines_files_are_for_reading_whatever_their_type(safe: RunningTestbed) -> None:
    """Nothing can be written, removed, remounted, covered or uncovered; in a host's own /tmp the attempts succeed."""
    before = machine(safe).markers()
    assert {"folder", "tmpfs", "proc", "sysfs", "devtmpfs", "shm", "overlay"} <= set(before)
    assert [before[name] for name in ("folder", "tmpfs", "devtmpfs", "shm", "overlay")] == [0o777] * 5
    safe.run("attacker", "mkdir", "-p", f"/tmp/own/{machine(safe).marker}")
    places = [f"{GIVEN_UP}/{name}" for name in before]
    places += ["/usr", "/etc", "/", str(PROJECT), "/tmp/own"]
    found = tried(safe, "attacker", ON_FOLDERS, machine(safe).marker, *places)
    own = {attempt for attempt, outcome in found.items() if outcome not in REFUSED}
    assert own == {f"/tmp/own {attempt}" for attempt in OWN}, {attempt: found[attempt] for attempt in own}
    assert machine(safe).markers() == before


def test_nothing_that_reaches_beyond_a_host_is_permitted(safe: RunningTestbed) -> None:
    found = tried(safe, "attacker", ON_THE_SYSTEM)
    assert {attempt: outcome for attempt, outcome in found.items() if outcome not in REFUSED} == {}
    assert len([attempt for attempt in found if attempt.startswith("/proc/sys/kernel/")]) > 20
    set_own = "echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward; echo x > /dev/null; hostname"
    assert safe.run("attacker", "sh", "-c", set_own).split() == ["1", "attacker"]
    assert safe.run("client", "cat", "/proc/sys/net/ipv4/ip_forward").split() == ["0"]


@pytest.mark.parametrize("host", ["attacker", "client", "lb", "srv1", "dns"])
def test_every_process_of_a_host_has_the_hosts_capabilities_and_no_folder_elsewhere(
    safe: RunningTestbed, host: str
) -> None:
    """The shell that Mininet drives, the daemons, and what `exec` starts; one, the exporter, looks into the others."""
    rows = processes(safe, host)
    allowed = sum(1 << KERNELS.index(name) for name in CAPABILITIES)
    exporter = 1 << BEYOND["sys_ptrace"] | (allowed & 1 << CAPABILITIES["net_raw"] if host == "dns" else 0)
    exporters = [sets for _, sets, _ in rows if sets[3] == exporter]
    assert len(exporters) == (host in ("lb", "srv1", "dns"))
    assert all(set(sets) <= {0, exporter} for sets in exporters)
    assert len(rows) >= 2
    for name, sets, folders in rows:
        inherited, permitted, effective, bounding, ambient = sets
        assert folders == [], name
        if sets not in exporters:
            assert (inherited, ambient) == (0, 0), name
            assert (permitted | effective | bounding) & ~allowed == 0, name


def test_exec_hands_in_no_folder_that_the_terminal_holds_open(safe: RunningTestbed) -> None:
    """Through it a path would lead past the host's root."""
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    words = ("exec", "--name", "safe", "attacker", "--", "sh", "-c", "ls /proc/$$/fd")
    try:
        with safe.commands.popen(*words, pass_fds=(root,)) as process:
            assert process.communicate(timeout=60)[0].split() == ["0", "1", "2"]
    finally:
        os.close(root)


def test_a_host_sees_no_other_host_and_no_machine(safe: RunningTestbed) -> None:
    """Neither keys nor sockets nor processes nor links nor secrets nor homes, but its own."""
    shown = safe.run("attacker", "sh", "-c", "ls /sys/class/net; ls /dev; ls /")
    interfaces, rest = shown.split("\n", 2)[:2], shown.split("\n", 2)[2]
    assert interfaces == ["attacker-eth0", "lo"]
    devices = {"fd", "full", "net", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"}
    devices |= {"urandom", "zero"}
    folders = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "mnt", "proc", "root", "run", "sbin", "sys"}
    folders |= {"tmp", "usr", "var"}
    assert set(rest.split()) <= {*devices, *folders, *(path.parts[1] for path in hostroot.KEEP)}
    keys = "grep -rlsI 'PRIVATE KEY' /run /etc /var /root /dev/shm; find /run /var /root -type s; true"
    assert safe.run("attacker", "sh", "-c", keys) == ""
    assert "/run/" in safe.run("lb", "sh", "-c", keys)
    assert safe.exec("attacker", "cat", "/etc/shadow").returncode != 0
    assert safe.exec("attacker", "test", "-e", str(UNSEEN / "marker")).returncode != 0
    assert {name for name, _, _ in processes(safe, "attacker")} <= {"bash", "python3"}


def test_signals_and_debuggers_end_at_the_host(safe: RunningTestbed) -> None:
    """`kill -9 -1` reaches the host's own processes (seen to end), and no other host's, nor the machine's."""
    names = {name: ("sleep", f"86{number}") for number, name in enumerate(("attacker", "srv1"))}
    with subprocess.Popen(["sleep", "862"]) as stranger:
        try:
            with (
                safe.commands.popen("exec", "--name", "safe", "attacker", "--", *names["attacker"]) as own,
                safe.commands.popen("exec", "--name", "safe", "srv1", "--", *names["srv1"]) as other,
            ):
                for host, words in names.items():
                    wait.until(lambda: _runs(safe, host, *words), what=f"sleep on {host}", seconds=10)  # noqa: B023
                assert safe.exec("attacker", "sh", "-c", "kill -9 -1").returncode == 0
                assert own.wait(10) != 0
                assert (other.poll(), stranger.poll()) == (None, None)
        finally:
            stranger.kill()
    assert _serves(safe)


def _runs(bed: RunningTestbed, host: str, *words: str) -> str | None:
    shown = bed.run(host, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    return None if " ".join(words) in shown else shown


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_host_that_fills_its_own_folder_harms_no_other(safe: RunningTestbed, folder: str) -> None:
    """It meets its own end of space; its other folders, the other hosts and the site are as before."""
    done = safe.exec("attacker", "sh", "-c", f"head -c 4G /dev/zero > {folder}/filling")
    assert "No space left on device" in done.stderr
    free = _free(safe, "attacker")
    assert free.pop(folder) == 0
    assert min(*free.values(), *_free(safe, "srv1").values()) > 1 << 20
    assert _serves(safe)
    safe.run("attacker", "rm", f"{folder}/filling")
    assert _free(safe, "attacker")[folder] > 1 << 20


def _free(bed: RunningTestbed, host: str) -> dict[str, int]:
    """Bytes left in each of a host's own folders."""
    shown = bed.run(host, "stat", "--file-system", "--format=%a %S", *FOLDERS).splitlines()
    sizes = [int(free) * int(block) for free, block in (line.split() for line in shown)]
    return dict(zip(FOLDERS, sizes, strict=True))


def _serves(bed: RunningTestbed) -> bool:
    return bed.exec("client", "curl", "-sS", "--fail", "-o", "/dev/null", f"https://{SITE}/").returncode == 0


def test_what_is_written_is_nobody_elses(safe: RunningTestbed) -> None:
    for folder in sorted(PRIVATE):
        safe.run("attacker", "touch", f"{folder}/written-by-a-host")
        assert safe.exec("client", "test", "-e", f"{folder}/written-by-a-host").returncode == 1
        assert not (machine(safe).place(Path(folder)) / "written-by-a-host").exists()
        safe.run("attacker", "rm", f"{folder}/written-by-a-host")


def test_removing_everything_on_a_host_ends_at_its_own_folders(safe: RunningTestbed) -> None:
    """The last one: afterwards the host has nothing of its own left. Everybody else has."""
    before = machine(safe).markers()
    # some of these file systems are the machine's: not even tried where one of them could be written
    read_only = "import os, sys; print([path for path in sys.argv[1:] if not os.statvfs(path).f_flag & os.ST_RDONLY])"
    places = ["/", "/dev/null", str(PROJECT), *(f"{GIVEN_UP}/{name}" for name in before)]
    assert safe.run("attacker", "python3", "-ISE", "-c", read_only, *places).strip() == "[]"
    lists = {path: sorted(os.listdir(path)) for path in ("/", "/dev", "/etc", "/usr/bin", str(PROJECT))}
    safe.run("attacker", "touch", "/tmp/lost", "/var/log/lost")
    done = safe.exec("attacker", "rm", "-rf", "--no-preserve-root", "/", seconds=300)
    assert "Read-only file system" in done.stderr
    assert safe.run("attacker", "ls", "/tmp", "/var/log").split() == ["/tmp:", *_kept("/tmp"), "/var/log:"]
    assert machine(safe).markers() == before
    assert {path: sorted(os.listdir(path)) for path in lists} == lists
    assert _serves(safe)


def _kept(folder: str) -> list[str]:
    """The way to the project and its Python stays."""
    return sorted({path.relative_to(folder).parts[0] for path in hostroot.KEEP if path.is_relative_to(folder)})
