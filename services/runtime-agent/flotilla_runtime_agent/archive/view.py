"""A container's files and what users mounted there, entered by a thread of its own.

A thread that no longer shares its root can make a mount namespace of its own without the rest of
the process noticing. In it ``/`` is the container's root: no link leads out of it. As with dockerd
there is no ``/proc``, ``/sys``, ``/dev`` or tmpfs of a running container in it.
Nothing may be imported there, and nothing may look up users: it would read the container's files.
"""

import asyncio
import ctypes
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flotilla_runtime_agent.spec.inroot import make_folders, open_in_root

T = TypeVar("T")

_CLONE_FS, _CLONE_NEWNS = 0x200, 0x20000
_PLACE = "/sys"  # any folder that is there and that nobody needs in the view
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class ViewMount:
    """A bind or volume of a container."""

    source: str
    destination: str
    read_only: bool = False


@dataclass(frozen=True)
class FileView:
    """Where a container's files are: the snapshot at ``root``; the mounts are made in the view."""

    root: Path
    mounts: Sequence[ViewMount] = ()
    read_only: bool = False

    def is_read_only(self, path: str) -> bool:
        """Say whether a path is on a mount that the container may not write."""
        return any(mount.read_only for mount in self._under(path))

    def is_in_mount(self, path: str) -> bool:
        """Say whether a path is on a bind or volume."""
        return bool(self._under(path))

    def _under(self, path: str) -> list[ViewMount]:
        found = [
            mount
            for mount in self.mounts
            if path == mount.destination or path.startswith(mount.destination.rstrip("/") + "/")
        ]
        return sorted(found, key=lambda mount: len(mount.destination))[-1:]


async def call_inside(view: FileView, function: Callable[[], T]) -> T:
    """Return the function's result, called in a thread whose root is the container's."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # T may be None itself

    def run() -> None:
        result, error = None, None
        try:
            enter(view)
            result = function()
        except BaseException as caught:  # noqa: BLE001  # handed to whoever awaits
            error = caught
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, name="container-files", daemon=True).start()
    return await outcome


def enter(view: FileView) -> None:
    """Make the container's root this thread's root, for good.

    The root is a mount of the view's own, so that the container may end meanwhile: what is
    unmounted outside goes here as well, but for that.

    Raises:
        OSError: If the root is gone.
    """
    _checked(_libc.unshare(_CLONE_FS | _CLONE_NEWNS), "unshare")
    _mount("", "/", _MS_REC | _MS_SLAVE)
    _mount("tmpfs", _PLACE, 0, "tmpfs")
    root = Path(_PLACE, "root")
    root.mkdir()
    _mount(str(view.root), str(root), _MS_BIND)
    for mount in sorted(view.mounts, key=lambda one: len(one.destination)):
        _bind(root, mount)
    os.chroot(root)
    os.chdir("/")
    os.umask(0)


def _bind(root: Path, mount: ViewMount) -> None:
    try:
        is_folder = stat.S_ISDIR(Path(mount.source).stat().st_mode)
    except OSError:
        return
    if is_folder:
        make_folders(root, mount.destination)
    try:
        target = open_in_root(root, mount.destination, os.O_PATH)
    except OSError:
        return
    try:
        place = f"/proc/self/fd/{target}"
        _mount(mount.source, place, _MS_BIND | _MS_REC)
    finally:
        os.close(target)


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    paths = os.fsencode(source), os.fsencode(target)
    done = _libc.mount(*paths, kind.encode() or None, ctypes.c_ulong(flags), None)
    _checked(done, f"mount {source} at {target}")


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
