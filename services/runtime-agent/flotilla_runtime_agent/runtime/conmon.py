"""conmon: starts the OCI runtime, then holds a container's (or an exec's) streams and exit code.

It outlives the agent. All files of one monitor live in one folder, its *bundle*: ``attach`` (a
socket of sequenced packets), ``ctl`` (a fifo), ``pid``, ``conmon.pid``, and the exit file, which
has the container's id as its name.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from flotilla_runtime_agent.runtime.processes import Child, ProcessRef, readable, spawn

ATTACH_LIMIT = 32768
"""Longer messages to the attach socket are cut by conmon, silently."""

EXEC_PROCESS = "process.json"
"""What an exec starts; read when it is started."""

NO_LOG = "none"
_PLAIN = re.compile(r"^(?:runc create failed|exec failed): .*", re.DOTALL | re.MULTILINE)
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TZ": "UTC0",  # of the times in logs
    "GOMAXPROCS": "1",  # of the runtime, which does one thing after the other
}
"""Of conmon and the runtime: with the agent's own NOTIFY_SOCKET a runtime would wait for a message
of the container's."""


class RuntimeFailedError(Exception):
    """The OCI runtime refused; the message is its own."""


@dataclass(frozen=True)
class OciRuntime:
    """An OCI runtime as configured."""

    name: str
    path: Path
    root: Path
    arguments: tuple[str, ...] = ()

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return the command line for one of the runtime's commands."""
        return [self.path, *self.arguments, "--root", self.root, *words]


@dataclass(frozen=True)
class Monitoring:
    """What a monitor is told."""

    conmon: Path
    runtime: OciRuntime
    container_id: str
    bundle: Path
    log: str = NO_LOG  # or k8s-file:PATH
    terminal: bool = False
    stdin: bool = False
    leave_stdin_open: bool = False
    exec_id: str = ""
    systemd_cgroup: bool = False
    extra: tuple[str, ...] = field(default=())

    def argv(self) -> list[str | Path]:
        """Return conmon's command line."""
        argv: list[str | Path] = [
            *(self.conmon, "--api-version", "1", "--sync", "--full-attach"),
            *("--cid", self.container_id, "--cuuid", self.exec_id or self.container_id),
            *("--runtime", self.runtime.path, "--bundle", self.bundle),
            *("--container-pidfile", self.bundle / "pid"),
            *("--conmon-pidfile", self.bundle / "conmon.pid"),
            *("--exit-dir", self.bundle, "--log-path", self.log),
            *("--log-level", "error", "--no-sync-log"),
        ]
        for argument in (*self.runtime.arguments, "--root", str(self.runtime.root)):
            argv += ["--runtime-arg", argument]
        if self.runtime.path.name.startswith("runc"):
            # Its warnings would be in the container's log; errors are told without it, too.
            argv += ["--runtime-arg", "--log", "--runtime-arg", os.devnull]
        if self.terminal:
            argv.append("--terminal")
        if self.stdin:
            argv.append("--stdin")
        if self.leave_stdin_open:
            argv.append("--leave-stdin-open")
        if self.exec_id:
            argv += ["--exec", "--exec-attach", "--exec-process-spec", self.bundle / EXEC_PROCESS]
        return [*argv, *self.extra]


@dataclass(frozen=True)
class Monitored:
    """A monitor at work: conmon and the first process of what it watches."""

    monitor: ProcessRef
    process: ProcessRef
    child: Child | None = None  # conmon, if it is a child of this agent


class _Pipe:
    """A pipe whose writing (or reading) end a child gets, ours being non-blocking."""

    def __init__(self, *, child_writes: bool) -> None:
        reading, writing = os.pipe()
        self.ours, self.theirs = (reading, writing) if child_writes else (writing, reading)
        os.set_blocking(self.ours, False)

    def handed_over(self) -> None:
        os.close(self.theirs)
        self.theirs = -1

    def close(self) -> None:
        for fd in (self.ours, self.theirs):
            if fd >= 0:
                os.close(fd)
        self.ours = self.theirs = -1


class _Lines:
    """JSON lines that conmon writes into a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    async def next(self) -> dict[str, object] | None:
        while b"\n" not in self._buffer:
            await readable(self._fd)
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                continue
            if not data:
                break
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        if not line.strip():
            return None
        document = json.loads(line)
        return document if isinstance(document, dict) else None


async def create(monitoring: Monitoring, *, timeout_s: float = 60) -> Monitored:
    """Run the runtime's ``create`` under a new monitor; its process waits to be started.

    Raises:
        RuntimeFailedError: With the runtime's message. Nothing is left running.
    """
    sync = _Pipe(child_writes=True)
    try:
        env = {**ENVIRONMENT, "_OCI_SYNCPIPE": str(sync.theirs)}
        child = _spawn(monitoring, env, [sync.theirs])
        sync.handed_over()
        try:
            async with asyncio.timeout(timeout_s):
                pid = _pid_of(await _Lines(sync.ours).next(), monitoring)
                return await _running(child, pid)
        except BaseException:
            child.kill()
            await child.wait()
            raise
    finally:
        sync.close()


class ExecStart:
    """An exec on its way: the monitor is there, the runtime not yet called."""

    def __init__(self, child: Child, sync: _Pipe, start: _Pipe, monitoring: Monitoring) -> None:
        """Take over the child and the pipes."""
        self._child = child
        self._sync = sync
        self._start = start
        self._monitoring = monitoring

    async def go(self, *, timeout_s: float = 60) -> Monitored:
        """Have the runtime start the process.

        Raises:
            RuntimeFailedError: With the runtime's message.
        """
        try:
            os.write(self._start.ours, b"\0")
            self._start.close()
            async with asyncio.timeout(timeout_s):
                pid = _pid_of(await _Lines(self._sync.ours).next(), self._monitoring)
                return await _running(self._child, pid)
        except BaseException:
            await self.abandon()
            raise
        finally:
            self._sync.close()

    async def abandon(self) -> None:
        """Give up: the monitor is ended."""
        self._start.close()
        self._child.kill()
        await self._child.wait()
        self._sync.close()


async def prepare_exec(monitoring: Monitoring, *, timeout_s: float = 30) -> ExecStart:
    """Start the monitor of an exec up to where its attach socket can be joined."""
    sync, start, attach = (_Pipe(child_writes=way) for way in (True, False, True))
    try:
        env = {
            **ENVIRONMENT,
            "_OCI_SYNCPIPE": str(sync.theirs),
            "_OCI_STARTPIPE": str(start.theirs),
            "_OCI_ATTACHPIPE": str(attach.theirs),
        }
        child = _spawn(monitoring, env, [sync.theirs, start.theirs, attach.theirs])
    except BaseException:
        for pipe in (sync, start, attach):
            pipe.close()
        raise
    for pipe in (sync, start, attach):
        pipe.handed_over()
    starting = ExecStart(child, sync, start, monitoring)
    try:
        os.write(start.ours, b"\0")
        async with asyncio.timeout(timeout_s):
            if await _Lines(attach.ours).next() is None:
                raise RuntimeFailedError("conmon ended before its attach socket was there")
    except BaseException:
        await starting.abandon()
        raise
    finally:
        attach.close()
    return starting


def _spawn(monitoring: Monitoring, env: dict[str, str], fds: Sequence[int]) -> Child:
    # conmon writes its ``oom`` file into its working folder.
    return spawn(
        monitoring.argv(),
        cwd=monitoring.bundle,
        env=env,
        stderr=subprocess.DEVNULL,
        pass_fds=fds,
    )


def _pid_of(document: dict[str, object] | None, monitoring: Monitoring) -> int:
    if document is None:
        raise RuntimeFailedError(f"conmon ended early; runtime {monitoring.runtime.name}")
    pid = document.get("data", document.get("pid", -1))
    if isinstance(pid, int) and pid > 0:
        return pid
    message = runtime_message(str(document.get("message", "")))
    raise RuntimeFailedError(message or "the runtime failed")


async def _running(child: Child, pid: int) -> Monitored:
    process = ProcessRef.of(pid)
    return Monitored(child.ref, process or ProcessRef(pid, 0), child)


def runtime_message(text: str) -> str:
    """Return the last error in a runtime's output, without log decoration."""
    if (plain := _PLAIN.search(text)) is not None:
        return plain[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    last = lines[-1]
    if last.startswith("{"):
        try:
            return str(json.loads(last).get("msg", last))
        except ValueError:
            return last
    if 'level=error msg="' in last:
        quoted = last.partition("msg=")[2]
        try:
            return str(json.loads(quoted))
        except ValueError:
            return quoted.strip('"')
    return last


def log_to(path: Path) -> str:
    """Return the log argument for a file in the format ``k8s-file``."""
    return f"k8s-file:{path}"


def connect_attach(bundle: Path) -> socket.socket:
    """Join the attach socket: each packet is a stream's number (2 out, 3 err) and its data."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.setblocking(False)
        # The path of a socket is limited to 107 bytes; a folder's descriptor makes it short.
        connection.connect(f"/proc/self/fd/{folder}/attach")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def resize(bundle: Path, height: int, width: int) -> None:
    """Resize the terminal; one line per write, conmon loses a second one."""
    _control(bundle, f"1 {height} {width}\n")


def reopen_log(bundle: Path) -> None:
    """Have conmon open its log's path anew, after the file was renamed."""
    _control(bundle, "2 0 0\n")


def _control(bundle: Path, line: str) -> None:
    with suppress(OSError):  # no reader: the monitor has ended
        fd = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)


def exit_code(bundle: Path, container_id: str) -> int | None:
    """Return the code that conmon noted, None if it has not (yet)."""
    try:
        text = (bundle / container_id).read_text()
    except OSError:
        return None
    return int(text) if text.strip().lstrip("-").isdigit() else None


def kill_monitor(monitor: ProcessRef) -> None:
    """End a monitor that is of no more use."""
    monitor.kill(signal.SIGKILL)
