"""mount(2) and umount(2), for the few mounts that the core makes itself."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MNT_DETACH = 2


def mount_shm(target: Path, size_bytes: int) -> None:
    """Mount shared memory that several containers use. Raises: OSError."""
    target.mkdir(parents=True, exist_ok=True)
    if target.is_mount():
        return
    data = f"mode=1777,size={size_bytes}".encode()
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if _LIBC.mount(b"shm", os.fsencode(target), b"tmpfs", flags, data):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def unmount(target: Path) -> None:
    """Unmount, if it is mounted; what is still in use goes later."""
    _LIBC.umount2(os.fsencode(target), _MNT_DETACH)


def source_is_shared(path: Path) -> tuple[str, bool, bool]:
    """Return the mount point that a path is on, and whether it is shared, or a slave."""
    best, options = "", ""
    resolved = str(path.resolve())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        point = fields[4]
        is_above = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= len(best):
            best, options = point, line.partition(" - ")[0]
    return best, "shared:" in options, "master:" in options
