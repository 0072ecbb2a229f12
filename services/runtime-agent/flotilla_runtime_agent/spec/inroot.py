"""Files inside a container's root, resolved as the container would: links never lead out."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

_SYS_OPENAT2 = 437  # on every architecture
_RESOLVE_IN_ROOT = 0x10
_LIBC = ctypes.CDLL(None, use_errno=True)


def open_in_root(root: Path, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open a path below root (``openat2``, ``RESOLVE_IN_ROOT``); the caller closes.

    Raises:
        OSError: As ``open`` would.
    """
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT)
        name = os.fsencode(path.lstrip("/") or ".")
        fd: int = _LIBC.syscall(_SYS_OPENAT2, folder, name, how, len(how))
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return fd
    finally:
        os.close(folder)


def read_in_root(root: Path, path: str, limit: int = 16 << 20) -> bytes | None:
    """Return a file's content, None if it cannot be read."""
    try:
        fd = open_in_root(root, path)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(limit)


def make_folders(root: Path, path: str, mode: int = 0o755) -> None:
    """Have a folder at the path, with all above it, owned by root.

    Raises:
        OSError: ENOTDIR if something else is in the way.
    """
    done = ""
    for part in [part for part in path.split("/") if part not in ("", ".")]:
        done += "/" + part
        try:
            fd = open_in_root(root, done, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            _make(root, done, mode)
            continue
        os.close(fd)


def _make(root: Path, path: str, mode: int) -> None:
    parent, _, name = path.rpartition("/")
    if name == "..":
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    fd = open_in_root(root, parent or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.mkdir(name, mode, dir_fd=fd)
    except FileExistsError:
        # A link that leads nowhere: what it names is made.
        target = os.readlink(name, dir_fd=fd)
        joined = target if target.startswith("/") else f"{parent}/{target}"
        make_folders(root, os.path.normpath(joined), mode)
    finally:
        os.close(fd)
