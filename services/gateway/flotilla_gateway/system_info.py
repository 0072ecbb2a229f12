"""`docker info`: sums over the fleet, and a block for each node as classic Swarm had it."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

from flotilla_bus import Bus
from flotilla_bus.contracts import images
from flotilla_core.clock import now
from flotilla_core.errors import FlotillaError
from flotilla_engine.records import NodeInfo
from flotilla_engine.sizes import human_size
from flotilla_engine.timestamps import rfc3339_nano
from flotilla_gateway.domain.fleet import Fleet
from flotilla_gateway.domain.nodes import NodeStatus
from flotilla_gateway.domain.views import View
from flotilla_gateway.version import ENGINE_VERSION

_IMAGES_TIMEOUT_S = 5.0
_COMMIT = {"ID": "", "Expected": ""}
_LOG_DRIVERS = ["fluentd", "gelf", "journald", "json-file", "local", "syslog"]


async def info_fields(fleet: Fleet, bus: Bus, view: View) -> dict[str, Any]:
    """Return `SystemInfo` for a view of the fleet."""
    nodes = [node for node in await fleet.nodes.all() if view.shows(node.id)]
    states = Counter(record.state.status for record, _ in await fleet.containers.all(view))
    running, paused = states.get("running", 0), states.get("paused", 0)
    first = nodes[0].info if nodes else None
    silent = [node for node in nodes if node.silent_s is not None]
    return {
        "ID": fleet.id,
        "Containers": sum(states.values()),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": sum(states.values()) - running - paused,
        "Images": await _count_images(bus),
        "SystemStatus": _system_status(nodes),
        "DriverStatus": [["Nodes", str(len(nodes))]],
        "SystemTime": rfc3339_nano(now()),
        "Name": nodes[0].name if view.node_id is not None and nodes else "flotilla",
        "NCPU": sum(node.info.node.cpus for node in nodes),
        "MemTotal": sum(node.info.node.memory_bytes for node in nodes),
        "NFd": sum(node.info.n_fd for node in nodes),
        "NGoroutines": sum(node.info.n_goroutines for node in nodes),
        "NEventsListener": 0,
        "Labels": _labels(nodes, view),
        "Warnings": _warnings(nodes, silent),
        **_host_fields(first),
        **_constants(),
    }


async def _count_images(bus: Bus) -> int:
    with contextlib.suppress(FlotillaError):
        asked = images.ListRequest()
        return len((await bus.call(images.LIST, asked, timeout_s=_IMAGES_TIMEOUT_S)).images)
    return 0


def _system_status(nodes: list[NodeStatus]) -> list[list[str]]:
    """Return the lines that the CLI prints, one block for each node."""
    lines = [["Nodes", str(len(nodes))]]
    for node in nodes:
        record, load = node.info.node, node.load
        labels = ", ".join(f"{key}={value}" for key, value in sorted(record.labels.items()))
        lines += [
            [f" {node.name}", record.address],
            ["  └ ID", node.id],
            ["  └ Status", _status(node)],
            ["  └ Containers", f"{load.containers} ({load.running} running)"],
            ["  └ Reserved CPUs", f"{load.nano_cpus / 1e9:g} / {record.cpus}"],
            [
                "  └ Reserved Memory",
                f"{human_size(load.memory_bytes)} / {human_size(record.memory_bytes)}",
            ],
            ["  └ Labels", labels],
            ["  └ Operating System", node.info.operating_system],
            ["  └ Kernel Version", node.info.kernel_version],
            ["  └ Agent Version", record.engine_version],
            [
                "  └ Encryption",
                record.encryption if record.tunnel else f"none: {record.encryption}",
            ],
        ]
    return lines


def _status(node: NodeStatus) -> str:
    if node.silent_s is not None:
        return f"Unreachable (for {node.silent_s:.0f} seconds)"
    return "Drained" if node.drained else "Healthy"


def _labels(nodes: list[NodeStatus], view: View) -> list[str]:
    if view.node_id is None:
        return []
    return [f"{key}={value}" for node in nodes for key, value in node.info.node.labels.items()]


def _warnings(nodes: list[NodeStatus], silent: list[NodeStatus]) -> list[str]:
    warnings = [
        f"WARNING: node {node.name} is unreachable (for {node.silent_s:.0f} seconds)"
        for node in silent
    ]
    for node in nodes:
        warnings += [f"{warning} (node {node.name})" for warning in node.info.warnings]
    return warnings or [] if nodes else ["WARNING: no node has joined the fleet"]


def _host_fields(first: NodeInfo | None) -> dict[str, Any]:
    """Return what is told of hosts, as the first of them has it."""
    host = first or _NO_HOST
    return {
        "Driver": host.storage_driver,
        "MemoryLimit": host.memory_limit,
        "SwapLimit": host.swap_limit,
        "CpuCfsPeriod": host.cpu_cfs,
        "CpuCfsQuota": host.cpu_cfs,
        "CPUShares": host.cpu_shares,
        "CPUSet": host.cpu_set,
        "PidsLimit": host.pids_limit,
        "OomKillDisable": host.oom_kill_disable,
        "IPv4Forwarding": host.ipv4_forwarding,
        "CgroupDriver": host.cgroup_driver,
        "CgroupVersion": host.cgroup_version,
        "KernelVersion": host.kernel_version,
        "OperatingSystem": host.operating_system,
        "OSVersion": host.os_version,
        "OSType": "linux",
        "Architecture": _MACHINE.get(host.node.platform.architecture, "x86_64"),
        "DockerRootDir": host.docker_root_dir,
        "SecurityOptions": host.security_options,
        "Runtimes": host.runtimes or {"runc": {"path": "runc"}},
        "DefaultRuntime": host.default_runtime,
        "RuncCommit": {"ID": host.runc_version, "Expected": host.runc_version},
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "macvlan", "null", "overlay"],
            "Authorization": None,
            "Log": host.log_drivers or _LOG_DRIVERS,
        },
    }


_NO_HOST = NodeInfo.model_validate({"node": {"id": "", "name": "", "address": ""}})
_MACHINE = {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l"}


def _constants() -> dict[str, Any]:
    return {
        "ServerVersion": ENGINE_VERSION,
        "BridgeNfIptables": False,
        "BridgeNfIp6tables": False,
        "Debug": False,
        "LoggingDriver": "json-file",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": None,
            "AllowNondistributableArtifactsHostnames": None,
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": {
                    "Name": "docker.io",
                    "Mirrors": [],
                    "Secure": True,
                    "Official": True,
                }
            },
            "Mirrors": None,
        },
        "GenericResources": None,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "ExperimentalBuild": False,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": _COMMIT,
        "InitCommit": _COMMIT,
        "DefaultAddressPools": None,
        "CDISpecDirs": [],
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
    }
