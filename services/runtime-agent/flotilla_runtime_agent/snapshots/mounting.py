"""mount(2) and umount2(2), and the one thread whose current folder keeps overlay options short."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

_CLONE_FS = 0x200
_MS_RDONLY = 0x1
_MNT_DETACH = 0x2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, *, flags: int = 0, options: str = "") -> None:
    """Attach a file system to a folder by the system call of that name.

    Raises:
        OSError: As the kernel says it, with the target.
    """
    answer = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        os.fsencode(options),
    )
    if answer:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def unmount(target: str | Path) -> bool:
    """Take away a mount, also a busy one; False if nothing is mounted there."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) == 0:
        return True
    number = ctypes.get_errno()
    if number in (22, 2):  # EINVAL: not a mount; ENOENT
        return False
    raise OSError(number, os.strerror(number), str(target))


def is_mounted(target: Path) -> bool:
    """Tell whether a file system of its own is mounted on the folder."""
    try:
        return target.stat().st_dev != target.parent.stat().st_dev
    except FileNotFoundError:
        return False


class OverlayMounter:
    """Mounts overlays in a thread of its own, whose current folder is the snapshots' root.

    An overlay's options must fit into one page; names relative to the root keep them short. The
    current folder belongs to the process unless a thread asks for its own.
    """

    def __init__(self, root: Path) -> None:
        """Resolve relative lower, upper and work folders from `root`."""
        self._thread = ThreadPoolExecutor(1, "mounter", initializer=_own_folder, initargs=(root,))

    async def overlay(
        self, lower: list[str], target: Path, *, upper: str = "", work: str = ""
    ) -> None:
        """Mount an overlay, read-only without an upper folder; lower folders top first."""
        await self._run(lambda: overlay(lower, str(target), upper, work))

    def close(self) -> None:
        """End the thread; mounts stay."""
        self._thread.shutdown()

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _own_folder(root: Path) -> None:
    if _libc.unshare(_CLONE_FS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")
    os.chdir(root)


def overlay(lower: list[str], target: str, upper: str, work: str) -> None:
    """Mount layers on each other; relative folders are relative to the thread's current one."""
    options = "lowerdir=" + ":".join(lower)
    if upper:
        options += f",upperdir={upper},workdir={work}"
    options += ",index=off,redirect_dir=off,metacopy=off"
    mount("overlay", target, "overlay", flags=0 if upper else _MS_RDONLY, options=options)
