"""Mounting what a volume's options describe, and finding out whether it is."""

import ctypes
import os
import re
from pathlib import Path

from flotilla_core.errors import InternalError
from flotilla_runtime_agent.volumes.options import OptionMount

_MNT_DETACH = 2
_PASSWORD = re.compile(r"(password=)[^,]*")

_libc = ctypes.CDLL(None, use_errno=True)


def is_mounted(path: Path) -> bool:
    """Say whether something is mounted at a path.

    By the kernel's mount ids: a bind mount of the same file system has the device of its parent,
    and escapes ``os.path.ismount``.
    """
    try:
        return _mount_id(path) != _mount_id(path.parent)
    except FileNotFoundError:
        return False


def mount(wanted: OptionMount, target: Path) -> None:
    """Mount at a folder.

    Raises:
        InternalError: With dockerd's text.
    """
    if not wanted.source:
        raise InternalError(
            f"error while mounting volume '{target}': missing device in volume options"
        )
    done = _libc.mount(
        os.fsencode(wanted.source),
        os.fsencode(target),
        wanted.kind.encode(),
        ctypes.c_ulong(wanted.flags),
        wanted.data.encode() or None,
    )
    if done != 0:
        reason = os.strerror(ctypes.get_errno()).lower()
        flags = f", flags: {wanted.flags:#x}" if wanted.flags else ""
        shown = _PASSWORD.sub(r"\1********", wanted.data)
        data = f", data: {shown}" if shown else ""
        raise InternalError(
            f"error while mounting volume '{target}': failed to mount local volume: mount "
            f"{wanted.source}:{target}{flags}{data}: {reason}"
        )


def unmount(target: Path) -> None:
    """Unmount all that is mounted at a folder; safe to repeat.

    Raises:
        InternalError: If the kernel refuses.
    """
    while is_mounted(target):
        if _libc.umount2(os.fsencode(target), _MNT_DETACH) != 0:
            reason = os.strerror(ctypes.get_errno()).lower()
            raise InternalError(f"error while unmounting volume path '{target}': {reason}")


def _mount_id(path: Path) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        known = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    return next(line for line in known.splitlines() if line.startswith("mnt_id:"))
