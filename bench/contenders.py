"""The two engines that are compared, each on a data folder of its own."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import leftovers
from flotilla_testing.engines import Engine
from flotilla_testing.stacks import running_stack

_STARTS_WITHIN_S = 60.0


@dataclass(frozen=True)
class Contender:
    """An engine, and where its containers' monitors can be told by."""

    name: str
    engine: Engine
    monitor: str  # the monitor's program
    mark: str  # a text in the monitor's command line
    services: dict[str, int]  # its processes besides the monitors

    def memory(self) -> str:
        """Return the resident memory of its services."""
        sizes = {
            name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
            for name, pid in self.services.items()
        }
        return ", ".join(f"{name} {size:.0f} MiB" for name, size in sizes.items())

    def forget_peak(self) -> None:
        """Begin to note its services' highest memory anew."""
        for pid in self.services.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self) -> str:
        """Return which of its services has had the most resident memory, and how much."""
        sizes = {name: _peak_mib(pid) for name, pid in self.services.items()}
        name = max(sizes, key=lambda name: sizes[name])
        return f"{name} {sizes[name]:.0f} MiB"


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@contextmanager
def flotilla(hosts: int) -> Iterator[Contender]:
    """Bring up our own stack."""
    with running_stack(hosts=hosts) as stack:
        pids = {path.stem: int(path.read_text().split()[0]) for path in stack.run_dir.glob("*.pid")}
        yield Contender("flotilla", stack.engine, "conmon", str(stack.data_dir), pids)


@contextmanager
def dockerd(binary: Path) -> Iterator[Contender]:
    """Start a dockerd in a network namespace of its own; its companions lie beside it."""
    name = f"{leftovers.PREFIX}-{os.getpid()}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=leftovers.FOLDERS))
    socket = folder / "docker.sock"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    path = f"{binary.parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    command = ["nsenter", f"--net=/run/netns/{name}", "--", str(binary)]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    command += ["--pidfile", str(folder / "pid"), "--host", f"unix://{socket}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
            start_new_session=True,  # an interrupt is for us, who stop it in order
        )
    engine = Engine(f"unix://{socket}", is_flotilla=False)
    try:
        _await(engine, process, folder / "log")
        pids = {"dockerd": process.pid}
        yield Contender("dockerd", engine, "containerd-shim", str(folder), pids)
    finally:
        with suppress(subprocess.TimeoutExpired):
            _remove_containers(engine)
            process.terminate()
            process.wait(timeout=60)
        leftovers.clear(name)
        process.wait()


def _await(engine: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if engine.docker("version").code == 0:
            return
        time.sleep(0.2)
    raise RuntimeError(f"dockerd does not start: {log.read_text(errors='replace')[-2000:]}")


def _remove_containers(engine: Engine) -> None:
    identifiers = engine.docker("ps", "--all", "--quiet").stdout.split()
    if identifiers:
        engine.docker("rm", "--force", "--volumes", *identifiers, timeout_s=300)
