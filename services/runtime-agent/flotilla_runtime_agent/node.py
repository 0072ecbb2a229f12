"""What this host is, for ``docker info`` and for placement."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from flotilla_core.clock import now
from flotilla_core.ids import new_node_id
from flotilla_engine.records import NodeInfo, NodeRecord, Platform, TunnelEnd
from flotilla_runtime_agent.logs import drivers
from flotilla_runtime_agent.network.host_routes import host_subnets
from flotilla_runtime_agent.runtime.conmon import OciRuntime
from flotilla_runtime_agent.runtime.processes import run
from flotilla_runtime_agent.spec import apparmor, cgroups

_ARCHITECTURES = {"x86_64": ("amd64", ""), "aarch64": ("arm64", ""), "armv7l": ("arm", "v7")}


def node_id(data_dir: Path) -> str:
    """Return this node's id, made at the first start."""
    path = data_dir / "node-id"
    with suppress(FileNotFoundError):
        known = path.read_text().strip()
        if known:
            return known
    data_dir.mkdir(parents=True, exist_ok=True)
    made = new_node_id()
    partial = path.with_suffix(".new")
    with partial.open("w") as file:
        file.write(f"{made}\n")
        file.flush()
        os.fsync(file.fileno())  # another id after a power cut would be another node
    partial.replace(path)
    return made


def own_platform() -> Platform:
    """Return the host's platform."""
    machine = platform.machine()
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


class Node:
    """This host."""

    def __init__(
        self,
        *,
        identifier: str,
        name: str,
        address: str,
        labels: Mapping[str, str],
        root_dir: Path,
        runtimes: Mapping[str, OciRuntime],
        default_runtime: str,
        tunnel: TunnelEnd | None,
        encryption: str,
    ) -> None:
        """Keep what does not change."""
        self._record = NodeRecord(
            id=identifier,
            name=name or platform.node(),
            address=address,
            labels=dict(labels),
            platform=own_platform(),
            engine_version=_version(),
            cpus=len(os.sched_getaffinity(0)),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            tunnel=tunnel,
            encryption=encryption,
        )
        self._root_dir = root_dir
        self._runtimes = runtimes
        self._default_runtime = default_runtime
        self.runtime_version = ""

    async def ask_runtime(self) -> None:
        """Ask the default runtime for its version."""
        chosen = self._runtimes[self._default_runtime]
        with suppress(OSError, TimeoutError):
            done = await run([chosen.path, "--version"])
            for line in done.stdout.decode(errors="replace").splitlines():
                if line.startswith(("commit:", "runc version")):
                    self.runtime_version = line.rpartition(" ")[2]

    def info(self) -> NodeInfo:
        """Return what there is to know now."""
        system = _os_release()
        return NodeInfo(
            node=self._record.model_copy(update={"last_seen": now()}),
            kernel_version=platform.release(),
            operating_system=system.get("PRETTY_NAME", "Linux"),
            os_version=system.get("VERSION_ID", ""),
            storage_driver="overlay2",
            docker_root_dir=str(self._root_dir),
            cgroup_driver="cgroupfs",
            cgroup_version="2" if cgroups.is_unified() else "1",
            security_options=_security_options(),
            runtimes={name: {"path": str(item.path)} for name, item in self._runtimes.items()},
            default_runtime=self._default_runtime,
            runc_version=self.runtime_version,
            log_drivers=drivers.available(),
            swap_limit=cgroups.has_swap_limit(),
            blkio_weight=cgroups.has_block_weight(),
            blkio_weight_device=cgroups.has_block_weight(),
            oom_kill_disable=not cgroups.is_unified(),
            ipv4_forwarding=_reads_one(Path("/proc/sys/net/ipv4/ip_forward")),
            warnings=_warnings(),
            system_time=now(),
            n_fd=len(list(Path("/proc/self/fd").iterdir())),
            n_goroutines=len(asyncio.all_tasks()),
            subnets=host_subnets(),
        )


def _version() -> str:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("flotilla-runtime-agent")
    return ""


def _security_options() -> list[str]:
    options = ["name=seccomp,profile=builtin"]
    if apparmor.is_supported():
        options.insert(0, "name=apparmor")
    if cgroups.is_unified():
        options.append("name=cgroupns")
    return options


def _warnings() -> list[str]:
    warnings: list[str] = []
    if not cgroups.has_swap_limit():
        warnings.append("WARNING: No swap limit support")
    return warnings


def _reads_one(path: Path) -> bool:
    with suppress(OSError):
        return path.read_text().strip() == "1"
    return False


@cache
def _os_release() -> dict[str, str]:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        with suppress(OSError):
            pairs = [line.partition("=") for line in path.read_text().splitlines()]
            return {name: value.strip('"') for name, equals, value in pairs if equals}
    return {}


def raise_file_limit() -> tuple[int, int]:
    """Allow this process as many open files as it may have; returns what was before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before
