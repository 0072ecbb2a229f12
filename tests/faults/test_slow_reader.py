"""A client that does not read: the container waits, and no service's memory grows (invariant 6)."""

import os
import signal
import time
from pathlib import Path

from flotilla_testing.stacks import Stack

GROWTH_BYTES = 64 * 1024 * 1024


def pids(fleet: Stack) -> dict[str, int]:
    lines = [line.split() for line in fleet.flotilla("status").checked().lines]
    return {line[0]: int(line[2]) for line in lines if len(line) > 2 and line[1] == "up"}


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_flood_into_a_frozen_client_is_bounded(fleet: Stack) -> None:
    engine = fleet.engine
    container = engine.docker("run", "-d", "busybox", "sleep", "1000").checked().out
    before = {name: resident(pid) for name, pid in pids(fleet).items()}
    client = engine.popen(["exec", container, "cat", "/dev/zero"])
    assert client.stdout is not None
    client.stdout.read(1_000_000)
    client.send_signal(signal.SIGSTOP)
    time.sleep(3)  # whatever is unbounded has had the time for gigabytes
    grown = {name: resident(pid) - before[name] for name, pid in pids(fleet).items()}
    client.send_signal(signal.SIGCONT)
    client.kill()
    client.communicate()
    assert {name: size for name, size in grown.items() if size > GROWTH_BYTES} == {}
