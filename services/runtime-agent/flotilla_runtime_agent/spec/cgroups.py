"""Limits of a container as ``linux.resources``, and what the host's cgroups can do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from flotilla_core.errors import InternalError
from flotilla_engine.host_config import Resources, ThrottleDevice
from flotilla_runtime_agent.spec.devices import block_device

MOUNT = Path("/sys/fs/cgroup")
_CPU_PERIOD_US = 100_000


@cache
def is_unified() -> bool:
    """Whether the host has cgroup v2 only."""
    return (MOUNT / "cgroup.controllers").exists()


@cache
def has_swap_limit() -> bool:
    """Whether swap can be limited."""
    return is_unified() or (MOUNT / "memory/memory.memsw.limit_in_bytes").exists()


@cache
def has_block_weight() -> bool:
    """Whether block devices have weights."""
    return is_unified() or (MOUNT / "blkio/blkio.weight").exists()


def resources(asked: Resources) -> dict[str, Any]:
    """Return ``linux.resources`` without devices; what is not limited is left out."""
    parts = {
        "memory": _memory(asked),
        "cpu": _cpu(asked),
        "pids": _pids(asked),
        "blockIO": _block_io(asked),
    }
    return {name: part for name, part in parts.items() if part}


def _memory(asked: Resources) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    if asked.memory > 0:
        memory["limit"] = asked.memory
        if asked.memory_swap == 0 and has_swap_limit():
            memory["swap"] = asked.memory * 2
    if asked.memory_reservation > 0:
        memory["reservation"] = asked.memory_reservation
    if (asked.memory_swap > 0 or asked.memory_swap == -1) and has_swap_limit():
        memory["swap"] = asked.memory_swap
    if asked.memory_swappiness is not None and asked.memory_swappiness >= 0 and not is_unified():
        memory["swappiness"] = asked.memory_swappiness
    if asked.oom_kill_disable and not is_unified():
        memory["disableOOMKiller"] = True
    return memory


def _cpu(asked: Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if asked.cpu_shares < 0:
        raise InternalError("shares: invalid argument")
    if asked.cpu_shares > 0:
        cpu["shares"] = asked.cpu_shares
    if asked.nano_cpus > 0:
        cpu["period"] = _CPU_PERIOD_US
        cpu["quota"] = asked.nano_cpus * _CPU_PERIOD_US // 1_000_000_000
    if asked.cpu_period:
        cpu["period"] = asked.cpu_period
    if asked.cpu_quota:
        cpu["quota"] = asked.cpu_quota
    if asked.cpu_realtime_period:
        cpu["realtimePeriod"] = asked.cpu_realtime_period
    if asked.cpu_realtime_runtime:
        cpu["realtimeRuntime"] = asked.cpu_realtime_runtime
    if asked.cpuset_cpus:
        cpu["cpus"] = asked.cpuset_cpus
    if asked.cpuset_mems:
        cpu["mems"] = asked.cpuset_mems
    return cpu


def _pids(asked: Resources) -> dict[str, Any]:
    if not asked.pids_limit:
        return {}
    return {"limit": asked.pids_limit if asked.pids_limit > 0 else -1}


def _block_io(asked: Resources) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if has_block_weight():
        if asked.blkio_weight:
            block["weight"] = asked.blkio_weight
        if asked.blkio_weight_device:
            block["weightDevice"] = [
                {**_numbers(device.path), "weight": device.weight}
                for device in asked.blkio_weight_device
            ]
    throttles = {
        "throttleReadBpsDevice": asked.blkio_device_read_bps,
        "throttleWriteBpsDevice": asked.blkio_device_write_bps,
        "throttleReadIOPSDevice": asked.blkio_device_read_iops,
        "throttleWriteIOPSDevice": asked.blkio_device_write_iops,
    }
    for key, devices in throttles.items():
        if devices:
            block[key] = [_throttle(device) for device in devices]
    return block


def _throttle(device: ThrottleDevice) -> dict[str, Any]:
    return {**_numbers(device.path), "rate": device.rate}


def _numbers(path: str) -> dict[str, Any]:
    major, minor = block_device(path)
    return {"major": major, "minor": minor}


def folders(cgroup: str) -> list[Path]:
    """Return the folders of a cgroup path in all hierarchies of the host."""
    relative = cgroup.lstrip("/")
    if is_unified():
        return [MOUNT / relative]
    return [mount / relative for mount in sorted(MOUNT.iterdir()) if mount.is_dir()]
