"""Starts processes that outlive the command, finds them again, and ends them."""

import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flotilla_cli.failure import CommandError

_POLL_S = 0.02
_LOG_HEAD = re.compile(r"^\d{4}-\d\d-\d\dT\S+ [A-Z]+ +[a-z-]+ ")


@dataclass(frozen=True)
class Process:
    """A detached process by its pid file, which also holds the process's start time."""

    name: str
    pid_file: Path
    log_file: Path

    def pid(self) -> int | None:
        """Return its pid while it runs."""
        try:
            pid_text, started = self.pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid_text) if start_time(int(pid_text)) == started else None

    def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start it in a session of its own; what it writes is appended to the log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        child.returncode = 0  # nobody waits for it: it is to outlive us
        self.pid_file.write_text(f"{child.pid} {start_time(child.pid)}\n")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        pid = self.pid()
        if pid is not None:
            send(pid, number)

    def stop(self, timeout_s: float) -> None:
        """Ask it to end, and kill it when it has not ended in time."""
        self.signal(signal.SIGTERM)
        if not eventually(lambda: self.pid() is None, timeout_s):
            self.kill()
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.signal(signal.SIGKILL)
        eventually(lambda: self.pid() is None, 10)

    def last_words(self) -> str:
        """Return the log's last line without time, level and service, for an error message."""
        try:
            lines = self.log_file.read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return ""
        return _LOG_HEAD.sub("", lines[-1])[:400] if lines else ""


class Readiness:
    """Where a process says that it serves: the receiving end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        """Listen on a socket file of that path, made anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be given."""
        return {"NOTIFY_SOCKET": str(self._path)}

    def wait(self, process: Process, timeout_s: float) -> None:
        """Wait until the process is ready.

        Raises:
            CommandError: If it ends, or is not ready in time; with the last line of its log.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while time.monotonic() < deadline:
                readable, _, _ = select.select([self._socket], [], [], 0.1)
                if readable and b"READY=1" in self._socket.recv(4096):
                    return
                if process.pid() is None:
                    raise CommandError(f"{process.name} ended: {process.last_words()}")
        finally:
            self.close()
        raise CommandError(
            f"{process.name} is not ready after {timeout_s:g} s: {process.last_words()}"
        )

    def close(self) -> None:
        """Stop listening; may be called twice."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def start_time(pid: int) -> str | None:
    """Return when a process was started, in clock ticks since boot; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def parent_of(pid: int) -> int | None:
    """Return a process's parent, None if the process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])


def pids() -> list[int]:
    """Return all processes but this one."""
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in numbers if pid != os.getpid()]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill_all(find: Callable[[], Iterable[int]], timeout_s: float = 20) -> None:
    """Kill what `find` finds until it finds nothing."""

    def none_left() -> bool:
        found = list(find())
        for pid in found:
            send(pid, signal.SIGKILL)
        return not found

    if not eventually(none_left, timeout_s):
        raise CommandError(f"these processes do not end: {' '.join(map(str, find()))}")


def eventually(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until the condition holds; say whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
