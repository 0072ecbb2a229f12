"""Child processes and foreign ones, watched by pidfd; nothing here knows containers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_STAT_STATE = 0
_STAT_START_TIME = 19  # fields counted after the command's closing parenthesis


@dataclass(frozen=True)
class ProcessRef:
    """A process beyond doubt: its number, and when it started (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """Return the process that has this number now, unless there is none or a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split()
        if fields[_STAT_STATE] in (b"Z", b"X"):
            return None
        return cls(pid, int(fields[_STAT_START_TIME]))

    def is_alive(self) -> bool:
        """Tell whether it still runs; a successor with the same number does not count."""
        return self.pid > 0 and ProcessRef.of(self.pid) == self

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Send a signal; false if the process has gone."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True


async def readable(fd: int) -> None:
    """Wait until the descriptor can be read (a pidfd: until the process has ended)."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def is_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, is_ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def gone(process: ProcessRef) -> None:
    """Wait until a process that is not ours to reap has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.is_alive():
            await readable(fd)
    finally:
        os.close(fd)


class Child:
    """A process started by us. It is reaped as soon as it ends, whoever waits."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        """Watch the process; call inside the running loop."""
        self._popen = popen
        self.pid = popen.pid
        started = ProcessRef.of(popen.pid)
        self.ref = started or ProcessRef(popen.pid, 0)
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._ended: asyncio.Future[int] = loop.create_future()
        self._fd = os.pidfd_open(popen.pid)
        loop.add_reader(self._fd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        code = self._popen.wait()
        if not self._ended.done():
            self._ended.set_result(code)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._ended.done()

    async def wait(self) -> int:
        """Return the exit status, negative for a signal, as ``subprocess`` does."""
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if not self._ended.done():
            self._popen.kill()


def spawn(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a process in a session of its own, so that a signal to ours misses it."""
    # All descriptors of this process but these are closed on exec by themselves; closing the rest
    # one by one would cost a millisecond with a thousand containers.
    for fd in pass_fds:
        os.set_inheritable(fd, True)
    try:
        popen = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            close_fds=False,
            start_new_session=True,
        )
    finally:
        for fd in pass_fds:
            os.set_inheritable(fd, False)
    return Child(popen)


@dataclass(frozen=True)
class Finished:
    """What a short command came to."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> Finished:
    """Run a short command; it is killed when the time is over or the caller is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=env,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin or None)
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    return Finished(process.returncode or 0, out, err)
