"""A template of MariaDB's data directory, with the site's schema: made once on a machine, copied at every boot."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from topo import wait
from topo.errors import MissingError, ServiceError
from topo.paths import PROJECT

SCHEMA = PROJECT / "services" / "site" / "schema.sql"

# Sizes are small because three of them share a laptop. They are options of both the template's making and the
# running server: a redo log of another size would be rebuilt at the first start.
SIZES = (
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-data-file-path=ibdata1:4M:autoextend",
    "--innodb-temp-data-file-path=ibtmp1:4M:autoextend",
    "--innodb-autoextend-increment=4",
    "--innodb-log-buffer-size=1M",
    # three of 10 MB are the default since 11.0
    "--innodb-undo-tablespaces=0",
)
MAKE_SECONDS = 120.0  # one of the two steps; seen: 1 s


def cache() -> Path:
    """The folder of things that are made once: $XDG_CACHE_HOME/foobar, else ~/.cache/foobar."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "foobar"


def template() -> Path:
    """The template for this version of MariaDB and of the schema; made now if there is none.

    Raises MissingError without MariaDB's programs, ServiceError when they fail.
    """
    wanted = cache() / f"mariadb-{_key()}"
    if not wanted.exists():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="mariadb-part-", dir=wanted.parent))
        try:
            _make(partial)
            _publish(partial, wanted)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return wanted


def copy(target: Path) -> None:
    """A data directory of one's own."""
    shutil.copytree(template(), target)


@lru_cache
def _key() -> str:
    try:
        version = wait.for_command(("mariadbd", "--version")).stdout
    except FileNotFoundError:
        raise MissingError("mariadbd is not installed (package mariadb-server)") from None
    return hashlib.sha256(version.encode() + SCHEMA.read_bytes() + repr(SIZES).encode()).hexdigest()[:12]


def _make(target: Path) -> None:
    _run(
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={target}",
        "--user=root",
        "--auth-root-authentication-method=socket",
        "--skip-test-db",
        "--skip-name-resolve",
        *SIZES,
    )
    # bootstrap mode takes one statement a line
    lines = [line for line in SCHEMA.read_text().splitlines() if not line.lstrip().startswith("--")]
    statements = [" ".join(statement.split()) for statement in "\n".join(lines).split(";")]
    sql = "".join(f"{statement};\n" for statement in statements if statement)
    _run("mariadbd", "--no-defaults", "--bootstrap", f"--datadir={target}", "--user=root", *SIZES, stdin=sql)
    for leftover in ("ib_buffer_pool", "ibtmp1"):
        (target / leftover).unlink(missing_ok=True)


def _run(*argv: str, stdin: str = "") -> None:
    # MariaDB names its temporary files by its process number, which another box's MariaDB may have as well
    with tempfile.TemporaryDirectory(prefix="mariadb-") as own:
        environment = {**os.environ, "TMPDIR": own}
        result = wait.for_command(argv, seconds=MAKE_SECONDS, input=stdin, env=environment)
    if result.returncode or "ERROR" in result.stderr:
        raise ServiceError(
            f"{argv[0]} could not make MariaDB's data directory",
            detail=(result.stdout + result.stderr)[-2000:],
        )


def _publish(partial: Path, wanted: Path) -> None:
    """Two boots may have made it at the same time: the first one there wins."""
    try:
        partial.rename(wanted)
    except OSError:
        if not wanted.exists():
            raise
