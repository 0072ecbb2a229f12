"""What is measured: each function does one thing on one engine and returns seconds (or MiB)."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import network
from bench.contenders import Contender

_GIB = 2**30
_AT_ONCE = 8
_MANY = 50
_LISTED = 200
_IDLE = 20
_CROWD = 1000
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Measurement:
    """A number about an engine; less is better."""

    name: str
    unit: str
    rounds: int
    prepare: Callable[[Contender], object]  # a context manager around all rounds
    measure: Callable[[Contender], float]
    only_if_named: bool = False


def _timed(contender: Contender, *arguments: str, stdin: Path | None = None) -> float:
    """Run the CLI with its output thrown away; return the seconds it took."""
    source = stdin.open("rb") if stdin else None
    started = time.perf_counter()
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdin=source or subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=contender.engine.environment,
            timeout=_TIMEOUT_S,
            check=False,
        )
    finally:
        if source:
            source.close()
    took = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(
            f"{contender.name}: docker {' '.join(arguments)}: {done.stderr.decode()}"
        )
    return took


def _docker(contender: Contender, *arguments: str) -> str:
    return contender.engine.docker(*arguments, timeout_s=_TIMEOUT_S).checked().out


@contextmanager
def nothing(_: Contender) -> Iterator[None]:
    """Prepare nothing."""
    yield


@contextmanager
def running(contender: Contender) -> Iterator[None]:
    """Keep a container `one` running."""
    _docker(contender, "run", "-d", "--name", "one", "busybox", "sleep", "100000")
    yield
    _docker(contender, "rm", "-f", "one")


@contextmanager
def listed(contender: Contender) -> Iterator[None]:
    """Have many created containers."""
    with contender.engine.api() as api:
        made = [
            api.post("/containers/create", json={"Image": "busybox", "Cmd": ["true"]}).json()["Id"]
            for _ in range(_LISTED)
        ]
        yield
        for identifier in made:
            api.delete(f"/containers/{identifier}", params={"force": "true"})


@contextmanager
def crowded(contender: Contender) -> Iterator[None]:
    """Have a thousand idle containers, on one node."""
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "100000"],
        "Labels": {"flotilla.node": "host1"},
        "HostConfig": {"NetworkMode": "none"},
    }
    with contender.engine.api(timeout_s=_TIMEOUT_S) as api, ThreadPoolExecutor(_AT_ONCE) as pool:

        def run(_: int) -> str:
            made: str = api.post("/containers/create", json=body).raise_for_status().json()["Id"]
            api.post(f"/containers/{made}/start").raise_for_status()
            return made

        def remove(made: str) -> None:
            api.delete(f"/containers/{made}", params={"force": "true"}).raise_for_status()

        made = list(pool.map(run, range(_CROWD)))
        print(f"{contender.name} with {_CROWD}: {contender.memory()}", flush=True)
        yield
        list(pool.map(remove, made))


@contextmanager
def logged(contender: Contender) -> Iterator[None]:
    """Have an ended container `one` that wrote 1 GiB in lines."""
    line = "a line of a log as they are, about as long as this one is"
    script = f"yes '{line}' | head -c {_GIB}"
    _docker(contender, "run", "--name", "one", "-d", "busybox", "sh", "-c", script)
    _docker(contender, "wait", "one")
    yield
    _docker(contender, "rm", "-f", "one")


@contextmanager
def filled(contender: Contender) -> Iterator[None]:
    """Keep a container `one` with a file of 1 GiB, and such a file here."""
    big_file().parent.mkdir(parents=True, exist_ok=True)
    with big_file().open("wb") as file:
        file.truncate(_GIB)
    script = "dd if=/dev/zero of=/big bs=1M count=1024 2>/dev/null; sleep 100000"
    _docker(contender, "run", "-d", "--name", "one", "busybox", "sh", "-c", script)
    while _docker(contender, "exec", "one", "stat", "-c", "%s", "/big") != str(_GIB):
        time.sleep(0.5)
    yield
    _docker(contender, "rm", "-f", "one")
    big_file().unlink(missing_ok=True)


def big_file() -> Path:
    """Return the file of 1 GiB that `filled` makes."""
    return Path("/var/tmp/flt-bench-big")


def run_many(contender: Contender) -> float:
    """Start many containers, eight at once; remove them without counting that."""
    started = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = [f"many-{number}" for number in range(_MANY)]
        command = ("busybox", "sleep", "100000")
        jobs = [pool.submit(_docker, contender, "run", "-d", "--name", n, *command) for n in names]
        for job in jobs:
            job.result()
    took = time.perf_counter() - started
    _docker(contender, "rm", "-f", *names)
    return took


def idle_memory(contender: Contender) -> float:
    """Return the monitors' proportional memory per idle container, in MiB."""
    names = [f"idle-{number}" for number in range(_IDLE)]
    for name in names:
        _docker(contender, "run", "-d", "--name", name, "busybox", "sleep", "100000")
    total = sum(_monitor_sizes(contender))
    _docker(contender, "rm", "-f", *names)
    return total / _IDLE


def _monitor_sizes(contender: Contender) -> Iterator[float]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            rollup = (folder / "smaps_rollup").read_text()
        except OSError:
            continue
        if contender.monitor in command.split("\0")[0] and contender.mark in command:
            pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
            yield int(pss.split()[1]) / 1024


def _command(*arguments: str) -> Callable[[Contender], float]:
    return lambda contender: _timed(contender, *arguments)


def copy_in(contender: Contender) -> float:
    """Copy 1 GiB into the container."""
    return _timed(contender, "cp", str(big_file()), "one:/copy")


def attach_in(contender: Contender) -> float:
    """Send 1 GiB to a container's standard input."""
    source = Path("/var/tmp/flt-bench-input")
    with source.open("wb") as file:
        file.truncate(_GIB)
    try:
        script = f"test $(wc -c) = {_GIB}"
        return _timed(contender, "run", "-i", "--rm", "busybox", "sh", "-c", script, stdin=source)
    finally:
        source.unlink()


_DD = ("dd", "if=/dev/zero", "bs=1M", "count=1024")
ALL = (
    Measurement("run --rm true", "s", 15, nothing, _command("run", "--rm", "busybox", "true")),
    Measurement("run -d x50, 8 at once", "s", 2, nothing, run_many),
    Measurement("exec true", "s", 20, running, _command("exec", "one", "true")),
    Measurement("ps -a of 200", "s", 10, listed, _command("ps", "-a")),
    Measurement("monitor memory of an idle one", "MiB", 1, nothing, idle_memory),
    Measurement("logs of 1 GiB", "s", 1, logged, _command("logs", "one")),
    Measurement("attach, 1 GiB out", "s", 1, nothing, _command("run", "--rm", "busybox", *_DD)),
    Measurement("attach, 1 GiB in", "s", 2, nothing, attach_in),
    Measurement("cp 1 GiB in", "s", 3, filled, copy_in),
    Measurement("cp 1 GiB out", "s", 2, filled, _command("cp", "one:/big", "-")),
    Measurement("export 1 GiB", "s", 2, filled, _command("export", "one")),
    Measurement("stats --no-stream", "s", 3, running, _command("stats", "--no-stream", "one")),
    Measurement("top", "s", 10, running, _command("top", "one")),
    Measurement("diff", "s", 10, running, _command("diff", "one")),
    Measurement("network: 4 GiB on one host", "s", 5, network.pair, network.transfer),
    Measurement("ps -a of 1,000 idle", "s", 10, crowded, _command("ps", "-a"), True),
)
