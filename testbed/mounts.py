"""Mounts, by the kernel's own calls: no process for each, and a whole tree made read-only at once."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from topo.errors import MissingError

NOSUID, NODEV, NOEXEC = 2, 4, 8
BIND, REC, REMOUNT = 0x1000, 0x4000, 0x20
MOUNT_SETATTR, AT_RECURSIVE, ATTR_RDONLY = 442, 0x8000, 1  # one number on every architecture
AT_FDCWD = -100
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """The kernel's ``struct mount_attr``."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def tmpfs(target: Path, mebibytes: int, mode: int = 0o755) -> None:
    """A file system in memory with a size of its own; nothing happens where one is mounted already."""
    if target.is_mount():
        return
    options = f"size={mebibytes}m,nr_inodes=50000,mode={mode:o}"
    _mount("tmpfs", target, "tmpfs", NOSUID | NODEV, options)


def resize(target: Path, size: int) -> None:
    """Give a file system in memory another size, in bytes; its content stays. Raises OSError when that needs more."""
    _mount("tmpfs", target, "tmpfs", REMOUNT | NOSUID | NODEV, f"size={size}")


def bind(source: Path, target: Path) -> None:
    """A second place for a file or a folder, with all that is mounted below it."""
    _mount(str(source), target, None, BIND | REC, None)


def read_only(target: Path) -> None:
    """Nothing can be written below a mount, nor on any mount below it, of whatever type. Raises MissingError."""
    attributes = _Attributes(set=ATTR_RDONLY)
    size = ctypes.sizeof(attributes)
    if _libc.syscall(MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), AT_RECURSIVE, ctypes.byref(attributes), size):
        reason = os.strerror(ctypes.get_errno())
        raise MissingError(f"this kernel does not make {target} read-only ({reason}); Linux 5.12 or newer is needed")


def _mount(source: str, target: Path, kind: str | None, flags: int, options: str | None) -> None:
    texts = [os.fsencode(text) if text is not None else None for text in (source, str(target), kind)]
    if _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options) if options else None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(target))
