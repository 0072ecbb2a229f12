"""A container's cgroup at work: freezing, what is left in it, out-of-memory, removal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flotilla_runtime_agent.runtime.inotify import Inotify
from flotilla_runtime_agent.runtime.processes import ProcessRef
from flotilla_runtime_agent.spec.cgroups import MOUNT, folders, is_unified

_FREEZE_DEADLINE_S = 10
_REMOVE_DEADLINE_S = 10


async def freeze(cgroup: str) -> None:
    """Stop all processes of the cgroup. Raises: OSError, TimeoutError."""
    if is_unified():
        await _set(_folder(cgroup, "") / "cgroup.freeze", "1", "cgroup.events", "frozen 1")
    else:
        await _set(_folder(cgroup, "freezer") / "freezer.state", "FROZEN", "", "FROZEN")


async def thaw(cgroup: str) -> None:
    """Let them go on. Raises: OSError, TimeoutError."""
    if is_unified():
        await _set(_folder(cgroup, "") / "cgroup.freeze", "0", "cgroup.events", "frozen 0")
    else:
        await _set(_folder(cgroup, "freezer") / "freezer.state", "THAWED", "", "THAWED")


async def _set(file: Path, value: str, told_in: str, told_as: str) -> None:
    watched = file.with_name(told_in) if told_in else file
    async with asyncio.timeout(_FREEZE_DEADLINE_S):
        while not _is_set(file, value, watched, told_as):  # noqa: ASYNC110  # the kernel tells nobody
            await asyncio.sleep(0.002)


def _is_set(file: Path, value: str, watched: Path, told_as: str) -> bool:
    """Ask (version 1 wants to be asked again), and look."""
    file.write_text(value)
    return told_as in watched.read_text()


def _folder(cgroup: str, controller: str) -> Path:
    return MOUNT / controller / cgroup.lstrip("/")


def processes(cgroup: str) -> list[int]:
    """Return the processes of the cgroup and of those below it."""
    top = _folder(cgroup, "" if is_unified() else "freezer")
    found: list[int] = []
    for file in [top / "cgroup.procs", *top.glob("**/cgroup.procs")]:
        with suppress(OSError):
            found += [int(line) for line in file.read_text().split()]
    return list(dict.fromkeys(found))


def oom_kills(cgroup: str) -> int:
    """Return how many processes the kernel has killed for memory."""
    if is_unified():
        file = _folder(cgroup, "") / "memory.events"
    else:
        file = _folder(cgroup, "memory") / "memory.oom_control"
    try:
        text = file.read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return 0


class OomWatch:
    """Calls back at each out-of-memory kill in a cgroup."""

    def __init__(self, cgroup: str, inotify: Inotify, killed: Callable[[], None]) -> None:
        """Watch; where that cannot be done the count at the end is all there is."""
        self._cgroup = cgroup
        self._inotify = inotify
        self._killed = killed
        self._count = 0
        self._eventfd = -1
        self._watch = -1
        with suppress(OSError):
            if is_unified():
                self._watch = inotify.watch(_folder(cgroup, "") / "memory.events", self._look)
            else:
                self._eventfd = _register(_folder(cgroup, "memory"))
                asyncio.get_running_loop().add_reader(self._eventfd, self._woken)

    def _woken(self) -> None:
        with suppress(OSError):
            os.eventfd_read(self._eventfd)
        self._look()

    def _look(self) -> None:
        count = oom_kills(self._cgroup)
        if count > self._count:
            self._count = count
            self._killed()

    def close(self) -> None:
        """Look for the last time, and stop."""
        self._look()
        if self._eventfd >= 0:
            asyncio.get_running_loop().remove_reader(self._eventfd)
            os.close(self._eventfd)
            self._eventfd = -1
        if self._watch >= 0:
            self._inotify.unwatch(self._watch, self._look)
            self._watch = -1


def _register(folder: Path) -> int:
    eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        control = os.open(folder / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            (folder / "cgroup.event_control").write_text(f"{eventfd} {control}")
        finally:
            os.close(control)
    except OSError:
        os.close(eventfd)
        raise
    return eventfd


async def remove(cgroup: str) -> None:
    """Kill what is left in the cgroup, and remove it with all below it.

    Raises:
        TimeoutError: If a process of it does not end.
    """
    waiting = [path for path in folders(cgroup) if not _removed(path)]
    if not waiting:
        return
    delay_s = 0.0005
    async with asyncio.timeout(_REMOVE_DEADLINE_S):
        while waiting:
            for pid in processes(cgroup):
                ref = ProcessRef.of(pid)
                if ref is not None:
                    ref.kill()
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 0.05)
            waiting = [path for path in waiting if not _removed(path)]


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return _removed_below(folder)
    return True


def _removed_below(folder: Path) -> bool:
    """Remove a cgroup that has others in it (a container that made its own)."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(path).rmdir()
    return not folder.exists()
