"""Open vSwitch's two daemons, the testbed's own, inside the box: the machine's are never touched."""

from __future__ import annotations

from collections.abc import Mapping

from controllers.ovs.program import run
from controllers.ovs.vswitchd import DIRECTORY
from services.service import Command, Look, Service, accepts

DATABASE, DATABASE_SOCKET = f"{DIRECTORY}/conf.db", f"{DIRECTORY}/db.sock"
# The userspace datapath allocates for every packet it is woken for; keeping freed memory at hand saves a tenth of that
MALLOC = {"tcache_count": 127, "trim_threshold": 1 << 26, "mmap_threshold": 1 << 25, "top_pad": 1 << 24}
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class OvsdbServer(Service):
    """ovsdb-server, on a database made at boot."""

    role = "ovsdb-server"

    def directories(self) -> tuple[str, ...]:
        return (str(DIRECTORY),)

    def prepare(self, look: Look) -> None:
        run("ovsdb-tool", "create", str(look.path(DATABASE)), SCHEMA)

    def command(self) -> Command:
        return ("ovsdb-server", DATABASE, f"--remote=punix:{DATABASE_SOCKET}", "--pidfile", "--no-chdir")

    def ready(self, look: Look) -> str | None:
        return accepts(look.path(DATABASE_SOCKET))


class Vswitchd(Service):
    """ovs-vswitchd: all bridges of the testbed in one process."""

    role = "ovs-vswitchd"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in MALLOC.items())}

    def command(self) -> Command:
        return ("ovs-vswitchd", f"unix:{DATABASE_SOCKET}", "--pidfile", "--no-chdir")

    def ready(self, look: Look) -> str | None:
        pidfile = look.path(f"{DIRECTORY}/ovs-vswitchd.pid")
        try:
            return accepts(look.path(f"{DIRECTORY}/ovs-vswitchd.{pidfile.read_text().strip()}.ctl"))
        except OSError as error:
            return str(error)
