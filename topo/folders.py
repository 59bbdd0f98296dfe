"""Folders that a person names: opened once; all below goes by descriptor, and through no symbolic link.

Commands run as root, and folders are handed from one person to another: a link called ``report.html`` must not choose
the file that root overwrites. So what is named below an open folder is a plain file or a folder, or a UsageError says
its name. What is made here, and nothing else, becomes readable for all and, with sudo, the person's who typed it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from topo.errors import UsageError

MIB = 2**20
#: files that a person writes, and files that are measured: more than that is a mistake, and would fill the memory
TEXT_BYTES, DATA_BYTES = MIB, 512 * MIB
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
PART = ".part"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class Folder:
    """An open folder; ``path`` is what messages call it. ``private``: what is made in it stays its owner's alone.

    Every method raises UsageError, naming the path, for what is a link or of another kind, and for what the system
    refuses.
    """

    def __init__(self, path: Path, descriptor: int, *, private: bool = False) -> None:
        self.path = path
        self.descriptor = descriptor
        self.private = private

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def names(self) -> list[str]:
        """All that is in it, sorted."""
        return sorted(os.listdir(self.descriptor))

    def below(self, name: str, *, make: bool = False) -> Folder:
        """A folder in it; with ``make`` a new one if there is none."""
        with _refusing(self.path / name):
            if make:
                with suppress(FileExistsError):
                    return self._made(name)
            descriptor = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)
        return Folder(self.path / name, descriptor, private=self.private)

    def new(self, name: str) -> Folder:
        """A new folder in it, of a name that was free."""
        with _refusing(self.path / name):
            return self._made(name)

    def _made(self, name: str) -> Folder:
        os.mkdir(name, 0o700, dir_fd=self.descriptor)
        made = self.below(name)
        self._give(made.descriptor, 0o755)
        return made

    @contextmanager
    def temporary(self) -> Iterator[Folder]:
        """A new folder in it that goes with the block."""
        made = self.new(f".{secrets.token_hex(4)}{PART}")
        try:
            yield made
        finally:
            shutil.rmtree(f"/proc/self/fd/{self.descriptor}/{made.path.name}", ignore_errors=True)

    def create(self, name: str, mode: str = "wb") -> IO[Any]:
        """A new file in it, in the place of one that was there, open for writing."""
        self.refuse_strange(name)
        self.remove(name)
        descriptor = self.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self._give(descriptor, 0o644)
        return os.fdopen(descriptor, mode)

    def write(
        self, name: str, content: str | bytes, *, durable: bool = False, like: os.stat_result | None = None
    ) -> None:
        """A file's whole content: a reader finds all of it or what was there before; ``durable``: after a crash too.

        ``like``: with the owner of something else, and what others may do with that; on a host it is what it replaces.
        """
        self.refuse_strange(name)
        like = like or (self.status(name) if self.private else None)
        part = f".{secrets.token_hex(4)}{PART}"
        try:
            with _refusing(self.path / name):
                with self.create(part) as stream:
                    stream.write(content.encode() if isinstance(content, str) else content)
                    stream.flush()
                    if like:
                        os.fchown(stream.fileno(), like.st_uid, like.st_gid)
                        os.fchmod(stream.fileno(), stat.S_IMODE(like.st_mode) & 0o666)
                    if durable:
                        os.fsync(stream.fileno())
                os.rename(part, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
                if durable:
                    os.fsync(self.descriptor)
        except BaseException:
            self.remove(part)
            raise

    def refuse_strange(self, name: str) -> None:
        """Raises UsageError when there is something of that name which is no plain file."""
        status = self.status(name)
        if status and not stat.S_ISREG(status.st_mode):
            what = kind(status.st_mode)
            raise UsageError(f"{self.path / name}: {what}, which is not written to; remove it or say another")

    def status(self, name: str) -> os.stat_result | None:
        """The status of what has a name, of a link itself; None when it is free."""
        with _refusing(self.path / name), suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        return None

    def read(self, name: str, most: int = DATA_BYTES) -> bytes:
        """The content of a plain file of at most so many bytes."""
        return _content(self.open(name, READ), self.path / name, most)

    def end(self, name: str, most: int) -> bytes:
        """The last bytes of a plain file, so many of them."""
        with _plain(self.open(name, READ), self.path / name) as stream, _refusing(self.path / name):
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - most))
            return stream.read(most)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in it that is no link; what the flags create is its owner's alone."""
        with _refusing(self.path / name):
            return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """No file of that name is left."""
        with _refusing(self.path / name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def _give(self, descriptor: int, mode: int) -> None:
        """A new file or folder, to all readers and to the person who typed sudo; a shared folder may not permit it."""
        if self.private:
            return
        with suppress(OSError):
            os.fchmod(descriptor, mode)
        with suppress(OSError, ValueError):
            if os.geteuid() == 0 and "SUDO_UID" in os.environ:
                os.fchown(descriptor, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", -1)))


def opened(path: Path, *, make: bool = False, private: bool = False) -> Folder:
    """The folder that a person named, which may lie behind links but is none; with ``make`` a new one if there is none.

    ``private``: it must be the user's own, and nobody else may write in it. Raises UsageError.
    """
    folder = _opened(path, make=make, private=private, extra=os.O_NOFOLLOW)
    if private:
        _refuse_shared(folder)
    return folder


def _opened(path: Path, *, make: bool, private: bool = False, extra: int = 0) -> Folder:
    with _refusing(path):
        try:
            return Folder(path, os.open(path, DIRECTORY | extra), private=private)
        except FileNotFoundError:
            if not make or path.parent == path:
                raise
    return _opened(path.parent, make=True, private=private).below(path.name, make=True)


def _refuse_shared(folder: Folder) -> None:
    status = os.fstat(folder.descriptor)
    if status.st_uid != os.geteuid():
        raise UsageError(f"{folder.path} belongs to another user")
    if status.st_mode & OTHERS_WRITE:
        raise UsageError(f"{folder.path}: other users may write in it; chmod go-w {folder.path}")


def within(base: Path, path: str, *, make: bool = False) -> tuple[Folder, str]:
    """The folder and the name of a file below a folder that others fill, as a host's root does; no link leads there."""
    *parents, name = path.split("/")
    folder = _opened(base, make=make, private=True)
    for parent in parents:
        folder = folder.below(parent, make=make)
    return folder, name


def read(path: Path, most: int = TEXT_BYTES) -> bytes:
    """The content of a plain file that a person named, of at most so many bytes. Raises UsageError."""
    with _refusing(path):
        descriptor = os.open(path, READ)
    return _content(descriptor, path, most)


def write(path: Path, content: str | bytes) -> None:
    """Write a file that a person named. Raises UsageError."""
    with _opened(path.parent, make=False) as folder:
        folder.write(path.name or ".", content)


def refuse_strange(path: Path) -> None:
    """Raises UsageError, before it matters, where a file that a person named could not be written."""
    with _opened(path.parent, make=False) as folder:
        folder.refuse_strange(path.name or ".")


def kind(mode: int) -> str:
    """In words, for a line of a message."""
    kinds = ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a folder"), (stat.S_ISREG, "a file"))
    return next((word for matches, word in kinds if matches(mode)), "no plain file")


def _plain(descriptor: int, path: Path) -> IO[bytes]:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise UsageError(f"{path}: {kind(mode)}, not a file")
    return os.fdopen(descriptor, "rb")


def _content(descriptor: int, path: Path, most: int) -> bytes:
    with _plain(descriptor, path) as stream, _refusing(path):
        content = stream.read(most + 1)
    if len(content) > most:
        raise UsageError(f"{path}: larger than {most // MIB} MiB, the most that is read")
    return content


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """A refusal of the system, about a path, becomes our error."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: OSError) -> UsageError:
    with suppress(OSError):
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return UsageError(f"{path}: a symbolic link, which is not followed here; name what it points to")
    return UsageError(f"{path}: {error.strerror}")
