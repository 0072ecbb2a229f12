"""``GET /containers/{id}/stats``: one JSON document a second, each with the one before."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flotilla_engine.timestamps import rfc3339_nano_of_ns
from flotilla_runtime_agent.archive.pipes import ByteWriter
from flotilla_runtime_agent.stats import cgroups

_NEVER = "0001-01-01T00:00:00Z"
_INTERVAL_S = 1.0
_NO_CPU = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}
_COUNTERS = ("bytes", "packets", "errors", "dropped")


@dataclass(frozen=True)
class Measured:
    """A container as it is now; ``pid`` is None while it does not run."""

    id: str
    name: str  # without the slash
    cgroup: str
    pid: int | None
    has_own_network: bool = True  # False on the host's


async def send_stats(
    now: Callable[[], Measured | None], stream: ByteWriter, *, follow: bool, one_shot: bool
) -> None:
    """Write samples as JSON lines until the container is gone, or one only.

    Args:
        now: Says how the container is; None once it is removed.
        stream: Where the lines go.
        follow: One line a second for ever.
        one_shot: Without ``follow``: at once, instead of after a second sample to compare with.
    """
    before: dict[str, Any] | None = None
    due = asyncio.get_running_loop().time()
    waits_for_second = not follow and not one_shot
    while (container := now()) is not None:
        sample = await asyncio.to_thread(_sampled, container, before)
        before = sample
        if not waits_for_second or container.pid is None:
            await stream.write(json.dumps(sample, separators=(",", ":")).encode() + b"\n")
            if not follow:
                return
        waits_for_second = False
        due += _INTERVAL_S
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


def _sampled(container: Measured, before: dict[str, Any] | None) -> dict[str, Any]:
    if container.pid is None:
        return _nothing(container)
    sample: dict[str, Any] = {
        "read": rfc3339_nano_of_ns(time.time_ns()),
        "preread": before["read"] if before else _NEVER,
        "pids_stats": cgroups.pids(container.cgroup),
        "blkio_stats": cgroups.block_io(container.cgroup),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cgroups.cpu(container.cgroup) | cgroups.host_cpu(),
        "precpu_stats": before["cpu_stats"] if before else _NO_CPU,
        "memory_stats": cgroups.memory(container.cgroup),
        "name": f"/{container.name}",
        "id": container.id,
    }
    if container.has_own_network:
        networks = interfaces(_net_dev(container.pid))
        if networks:
            sample["networks"] = networks
    return sample


def _nothing(container: Measured) -> dict[str, Any]:
    return {
        "read": _NEVER,
        "preread": _NEVER,
        "pids_stats": {},
        "blkio_stats": dict.fromkeys(cgroups.BLOCK_IO_KEYS),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _NO_CPU,
        "precpu_stats": _NO_CPU,
        "memory_stats": {},
        "name": f"/{container.name}",
        "id": container.id,
    }


def _net_dev(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/net/dev").read_text()
    except OSError:
        return ""


def interfaces(net_dev: str) -> dict[str, dict[str, int]]:
    """Return the counters of each interface but the loopback, from ``/proc/PID/net/dev``."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, _, counted = line.partition(":")
        name = name.strip()
        values = [int(value) for value in counted.split()]
        if name == "lo" or len(values) < 16:
            continue
        received = {f"rx_{key}": values[place] for place, key in enumerate(_COUNTERS)}
        sent = {f"tx_{key}": values[8 + place] for place, key in enumerate(_COUNTERS)}
        found[name] = received | sent
    return found
