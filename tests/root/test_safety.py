"""What happens on an emulated host stays there: the machine's files are out of reach of a slip of the hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from runningtestbed import PROJECT, RunningTestbed

pytestmark = pytest.mark.root


@pytest.mark.parametrize("host", ["attacker", "srv1"])
@pytest.mark.parametrize("folder", ["/", "/etc", "/usr", str(PROJECT)])
def test_the_machines_files_are_for_reading(bed: RunningTestbed, host: str, folder: str) -> None:
    target = Path(folder) / "written-by-a-host"
    done = bed.exec(host, "touch", str(target))
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr
    assert not target.exists()


@pytest.mark.parametrize("folder", ["/run", "/tmp", "/var/log"])
def test_a_hosts_own_directories_can_be_written_and_nobody_else_sees_it(bed: RunningTestbed, folder: str) -> None:
    bed.run("attacker", "touch", f"{folder}/written-by-a-host")
    assert bed.exec("client", "test", "-e", f"{folder}/written-by-a-host").returncode == 1
    assert not (Path(folder) / "written-by-a-host").exists()
    bed.run("attacker", "rm", f"{folder}/written-by-a-host")
