"""A template of MariaDB's data directory, with the site's schema: made once on a machine, unpacked at every boot."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import tempfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from topo import folders, wait
from topo.errors import MissingError, ServiceError
from topo.folders import PART, Folder
from topo.paths import PROJECT

DIGEST_BYTES = hashlib.sha256().digest_size
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
    """The folder of things that are made once: $XDG_CACHE_HOME/foobar, else ~/.cache/foobar.

    With sudo both may still be those of the person who typed it; root has one that nobody else can write to.
    """
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    owner = next(place for place in (path, *path.absolute().parents) if place.exists()).stat().st_uid
    if owner != os.geteuid() and str(owner) == os.environ.get("SUDO_UID"):
        path = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"
    return path / "foobar"


def copy(target: Path) -> None:
    """A data directory of one's own, unpacked from the template; that is made now if there is none, or a broken one.

    Raises MissingError without MariaDB's programs, ServiceError when they fail, UsageError for a cache that is unfit.
    """
    with folders.opened(cache(), make=True, private=True) as place:
        packed = _sound(place) or _made(place, target.parent)
    with ZipFile(BytesIO(packed)) as archive:
        archive.extractall(target)
    target.chmod(0o700)


def _sound(place: Folder) -> bytes:
    """The packed template; empty if there is none, or if its checksum shows that it is not whole."""
    if place.status(_name()) is None:
        return b""
    content = place.read(_name())
    digest, packed = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return packed if hashlib.sha256(packed).digest() == digest else b""


def _made(place: Folder, beside: Path) -> bytes:
    """The template, made by one boot while others wait; beside the target, in the box, where nothing outlives it."""
    fcntl.flock(place.descriptor, fcntl.LOCK_EX)  # until the folder is closed
    for name in place.names():  # what makers left that were killed: no other one is at work
        if name.endswith(PART):
            place.remove(name)
    if packed := _sound(place):
        return packed
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mariadb-", dir=beside) as making:
        data, temporary = Path(making, "data"), Path(making, "tmp")
        data.mkdir()
        temporary.mkdir()
        _make(data, temporary)
        packed = _packed(data)
    place.write(_name(), hashlib.sha256(packed).digest() + packed, durable=True)
    return packed


def _packed(data: Path) -> bytes:
    content = BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(data.rglob("*")):
            archive.write(path, path.relative_to(data))
    return content.getvalue()


def _name() -> str:
    return f"mariadb-{_key()}.template"


@lru_cache
def _key() -> str:
    try:
        version = wait.for_command(("mariadbd", "--version")).stdout
    except FileNotFoundError:
        raise MissingError("mariadbd is not installed (package mariadb-server)") from None
    return hashlib.sha256(version.encode() + SCHEMA.read_bytes() + repr(SIZES).encode()).hexdigest()[:12]


def _make(target: Path, temporary: Path) -> None:
    _run(
        temporary,
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
    server = ("mariadbd", "--no-defaults", "--bootstrap", f"--datadir={target}", "--user=root", *SIZES)
    _run(temporary, *server, stdin=sql)
    for leftover in ("ib_buffer_pool", "ibtmp1"):
        (target / leftover).unlink(missing_ok=True)


def _run(temporary: Path, *argv: str, stdin: str = "") -> None:
    # MariaDB names its temporary files by its process number, which another box's MariaDB may have as well
    environment = {**os.environ, "TMPDIR": str(temporary)}
    result = wait.for_command(argv, seconds=MAKE_SECONDS, input=stdin, env=environment)
    if result.returncode or "ERROR" in result.stderr:
        raise ServiceError(
            f"{argv[0]} could not make MariaDB's data directory",
            detail=(result.stdout + result.stderr)[-2000:],
        )
