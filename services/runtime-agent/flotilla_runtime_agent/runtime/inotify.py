"""Notices of changed files, by inotify: one instance for the agent."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

MODIFY = 0x2
MOVED_SELF = 0x800
_EVENT = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Calls back when a watched file changes; a watch costs the kernel a few hundred bytes."""

    def __init__(self) -> None:
        """Open the instance; call inside the running loop."""
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._loop = asyncio.get_running_loop()
        self._watchers: dict[int, list[Callable[[], None]]] = {}
        self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Drop all watches."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._watchers.clear()

    def watch(self, path: Path, changed: Callable[[], None], mask: int = MODIFY) -> int:
        """Call back on each change of the file; returns a number for ``unwatch``.

        Raises:
            OSError: If the file is not there, or the user's watches are used up.
        """
        wd: int = _LIBC.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if wd < 0:
            number = ctypes.get_errno()
            if number == errno.ENOSPC:
                raise OSError(number, "fs.inotify.max_user_watches is too low")
            raise OSError(number, os.strerror(number), str(path))
        self._watchers.setdefault(wd, []).append(changed)
        return wd

    def unwatch(self, wd: int, changed: Callable[[], None]) -> None:
        """Stop calling back; the last one out removes the watch."""
        callbacks = self._watchers.get(wd)
        if callbacks is None or changed not in callbacks:
            return
        callbacks.remove(changed)
        if not callbacks:
            del self._watchers[wd]
            _LIBC.inotify_rm_watch(self._fd, wd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        seen: set[int] = set()
        offset = 0
        while offset + _EVENT.size <= len(data):
            wd, _mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            seen.add(wd)
        for wd in seen:
            for changed in list(self._watchers.get(wd, ())):
                changed()
