"""Real stacks for tests: brought up, broken and taken down through the `flotilla` command."""

import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flotilla_testing.engines import Engine, Result

PREFIX = "flt-test"
_UP_TIMEOUT_S = 150.0
_COMMAND_TIMEOUT_S = 90.0
_numbers = itertools.count(1)


class StackError(Exception):
    """The stack did not come up; the message has the end of every log."""


class Stack:
    """A running stack with `hosts` simulated hosts, named host1, host2 and so on."""

    def __init__(self, name: str, data_dir: Path, hosts: int) -> None:
        """Describe a stack; `up` starts it."""
        self.name = name
        self.data_dir = data_dir
        self.hosts = [f"host{number}" for number in range(1, hosts + 1)]
        self.run_dir = Path("/run/flotilla") / name

    @property
    def engine(self) -> Engine:
        """The fleet as one engine."""
        return Engine(f"unix://{self.run_dir}/docker.sock")

    def flotilla(self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S) -> Result:
        """Run `flotilla … --name NAME`."""
        command = [sys.executable, "-m", "flotilla_cli", *arguments, "--name", self.name]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def up(self) -> None:
        """Bring it up, or what of it is down."""
        result = self.flotilla(
            "up",
            "--hosts",
            str(len(self.hosts)),
            "--data-dir",
            str(self.data_dir),
            timeout_s=_UP_TIMEOUT_S,
        )
        if result.code != 0:
            raise StackError(f"{result.stderr}{result.stdout}\n{self.logs()}")

    def down(self) -> None:
        """Take it down and remove its data."""
        self.flotilla("down", "--purge", "--time", "0").checked()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL: nats, image-store, registry-proxy, gateway or agent-HOST.

        At once, and not by the command, whose own start would decide the moment.

        Raises:
            ProcessLookupError: If it does not run.
        """
        pid, started = (self.run_dir / f"{service}.pid").read_text().split()
        process = os.pidfd_open(int(pid))
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] != started:  # another one has its number by now
                raise ProcessLookupError(f"{service} does not run")
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], _COMMAND_TIMEOUT_S)
        finally:
            os.close(process)

    def start(self, service: str) -> None:
        """Start a service and wait until it serves."""
        self.flotilla("service", "start", service).checked()

    def cut(self, host: str) -> None:
        """Lose every packet from and to a host."""
        self.flotilla("host", "cut", host).checked()

    def heal(self, host: str) -> None:
        """Undo `cut`."""
        self.flotilla("host", "heal", host).checked()

    def logs(self, lines: int = 25) -> str:
        """Return the end of each service's log."""
        return self.flotilla("logs", "--tail", str(lines)).stdout


@contextmanager
def running_stack(hosts: int = 2) -> Iterator[Stack]:
    """Bring up a stack of its own name; take it down at the end, whatever happened."""
    name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
    data_dir = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/var/tmp"))
    stack = Stack(name, data_dir, hosts)
    try:
        stack.up()
        yield stack
    finally:
        if os.environ.get("FLOTILLA_TEST_KEEP"):
            sys.stderr.write(f"\nkept: flotilla status --name {name}\n")
        else:
            stack.down()
