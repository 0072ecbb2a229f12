"""Use of CPU, memory, disks and processes as the kernel counts it, of cgroup v1 and v2.

In the shapes of the Engine API's ``ContainerStatsResponse`` (API 1.51). A file that is not there
counts as zero: controllers differ between hosts.
"""

import os
from pathlib import Path
from typing import Any

from flotilla_runtime_agent.spec.cgroups import MOUNT, is_unified

_NANOSECONDS_PER_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_UNLIMITED_V1 = 1 << 62

Json = dict[str, Any]

BLOCK_IO_KEYS = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


def cpu(cgroup: str) -> Json:
    """Return ``CPUStats`` but for what concerns the whole host."""
    return _cpu_unified(cgroup) if is_unified() else _cpu_v1(cgroup)


def memory(cgroup: str) -> Json:
    """Return ``MemoryStats``."""
    return _memory_unified(cgroup) if is_unified() else _memory_v1(cgroup)


def pids(cgroup: str) -> Json:
    """Return ``PidsStats``."""
    folder = _folder(cgroup, "pids")
    found = {"current": _number(folder / "pids.current")}
    limit = _number(folder / "pids.max")
    found["limit"] = limit or 2**64 - 1
    return found


def block_io(cgroup: str) -> Json:
    """Return ``BlkioStats``."""
    entries = _block_io_unified(cgroup) if is_unified() else _block_io_v1(cgroup)
    return dict.fromkeys(BLOCK_IO_KEYS) | entries


def host_cpu() -> Json:
    """Return the host's CPU time since boot, and how many CPUs it has."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    ticks = sum(int(field) for field in first[1:8])
    return {
        "system_cpu_usage": ticks * _NANOSECONDS_PER_TICK,
        "online_cpus": os.cpu_count() or 1,
    }


def host_memory() -> int:
    """Return the host's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_v1(cgroup: str) -> Json:
    folder = _folder(cgroup, "cpuacct")
    ticks = _keyed(folder / "cpuacct.stat")
    throttling = _keyed(_folder(cgroup, "cpu") / "cpu.stat")
    usage: Json = {
        "total_usage": _number(folder / "cpuacct.usage"),
        "percpu_usage": [int(one) for one in _text(folder / "cpuacct.usage_percpu").split()],
        "usage_in_kernelmode": _number(folder / "cpuacct.usage_sys")
        or ticks.get("system", 0) * _NANOSECONDS_PER_TICK,
        "usage_in_usermode": _number(folder / "cpuacct.usage_user")
        or ticks.get("user", 0) * _NANOSECONDS_PER_TICK,
    }
    return {
        "cpu_usage": usage,
        "throttling_data": {
            "periods": throttling.get("nr_periods", 0),
            "throttled_periods": throttling.get("nr_throttled", 0),
            "throttled_time": throttling.get("throttled_time", 0),
        },
    }


def _cpu_unified(cgroup: str) -> Json:
    counted = _keyed(_folder(cgroup, "") / "cpu.stat")
    return {
        "cpu_usage": {
            "total_usage": counted.get("usage_usec", 0) * 1000,
            "usage_in_kernelmode": counted.get("system_usec", 0) * 1000,
            "usage_in_usermode": counted.get("user_usec", 0) * 1000,
        },
        "throttling_data": {
            "periods": counted.get("nr_periods", 0),
            "throttled_periods": counted.get("nr_throttled", 0),
            "throttled_time": counted.get("throttled_usec", 0) * 1000,
        },
    }


def _memory_v1(cgroup: str) -> Json:
    folder = _folder(cgroup, "memory")
    limit = _number(folder / "memory.limit_in_bytes")
    found: Json = {
        "usage": _number(folder / "memory.usage_in_bytes"),
        "max_usage": _number(folder / "memory.max_usage_in_bytes"),
        "stats": _keyed(folder / "memory.stat"),
        "limit": host_memory() if limit >= _UNLIMITED_V1 or not limit else limit,
    }
    failures = _number(folder / "memory.failcnt")
    return found | ({"failcnt": failures} if failures else {})


def _memory_unified(cgroup: str) -> Json:
    folder = _folder(cgroup, "")
    return {
        "usage": _number(folder / "memory.current"),
        "stats": _keyed(folder / "memory.stat"),
        "limit": _number(folder / "memory.max") or host_memory(),
    }


def _block_io_v1(cgroup: str) -> Json:
    folder = _folder(cgroup, "blkio")
    found: Json = {}
    for key, name in (
        ("io_service_bytes_recursive", "io_service_bytes_recursive"),
        ("io_serviced_recursive", "io_serviced_recursive"),
    ):
        for policy in ("bfq", "throttle"):
            entries = _block_entries(_text(folder / f"blkio.{policy}.{name}"))
            if entries:
                break
        found[key] = entries
    return found


def _block_entries(text: str) -> list[Json]:
    entries = []
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            major, minor = words[0].split(":")
            entries.append(
                {
                    "major": int(major),
                    "minor": int(minor),
                    "op": words[1].lower(),
                    "value": int(words[2]),
                }
            )
    return entries


def _block_io_unified(cgroup: str) -> Json:
    counted: list[Json] = []
    operations: list[Json] = []
    for line in _text(_folder(cgroup, "") / "io.stat").splitlines():
        device, *pairs = line.split()
        major, minor = (int(number) for number in device.split(":"))
        values = dict(pair.split("=", 1) for pair in pairs)
        for op, kept, key in (
            ("read", counted, "rbytes"),
            ("write", counted, "wbytes"),
            ("read", operations, "rios"),
            ("write", operations, "wios"),
        ):
            value = int(values.get(key, 0))
            kept.append({"major": major, "minor": minor, "op": op, "value": value})
    return {"io_service_bytes_recursive": counted, "io_serviced_recursive": operations}


def _folder(cgroup: str, controller: str) -> Path:
    return MOUNT / ("" if is_unified() else controller) / cgroup.lstrip("/")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _keyed(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
