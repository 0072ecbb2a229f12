"""Containers on the wire (``ContainerInspectResponse``, ``ContainerSummary``, exec inspect)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from flotilla_engine.durations import human_duration
from flotilla_engine.host_config import PortBinding
from flotilla_engine.mounts import MountPoint
from flotilla_engine.ports import port_order, split_protocol
from flotilla_engine.records import (
    ContainerRecord,
    ContainerSize,
    ExecRecord,
    NodeRecord,
    NodeState,
)
from flotilla_engine.render.configs import config_fields, host_config_fields
from flotilla_engine.render.networks import endpoint_fields
from flotilla_engine.state import ContainerState
from flotilla_engine.timestamps import rfc3339_nano
from flotilla_engine.versions import MAXIMUM, Version

_LEGACY_ENDPOINT = (
    "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress",
    "IPPrefixLen", "IPv6Gateway", "MacAddress",
)  # fmt: skip


def inspect_container(
    record: ContainerRecord,
    version: Version = MAXIMUM,
    *,
    node: NodeRecord | None = None,
    size: ContainerSize | None = None,
) -> dict[str, Any]:
    """Return ``ContainerInspectResponse``; sizes only where they were asked for."""
    fields: dict[str, Any] = {
        "Id": record.id,
        "Created": rfc3339_nano(record.created),
        "Path": record.path,
        "Args": record.args,
        "State": state_fields(record.state),
        "Image": record.image_id,
        "ResolvConfPath": record.resolv_conf_path,
        "HostnamePath": record.hostname_path,
        "HostsPath": record.hosts_path,
        "LogPath": record.log_path,
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": record.graph_driver,
        "Platform": record.platform.os,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": record.apparmor_profile,
        "ExecIDs": record.exec_ids or None,
        "HostConfig": host_config_fields(record.host_config),
        "GraphDriver": {"Data": record.graph_data, "Name": record.graph_driver},
    }
    if size is not None:
        fields["SizeRw"] = size.rw_bytes
        fields["SizeRootFs"] = size.root_fs_bytes
    fields["Mounts"] = [_mount(mount) for mount in record.mounts]
    fields["Config"] = config_fields(record.config)
    if version < (1, 44):
        _add_legacy_mac_address(fields["Config"], record)
    fields["NetworkSettings"] = _network_settings(record, version)
    if node is not None:
        fields["Node"] = node_fields(node)
    return fields


def container_summary(
    record: ContainerRecord,
    version: Version = MAXIMUM,
    *,
    node: NodeRecord | None = None,
    size: ContainerSize | None = None,
    image: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return ``ContainerSummary``.

    Args:
        record: The container.
        version: The client's.
        node: Where it is; if that node is silent, the status says so.
        size: Only where it was asked for.
        image: What to show instead of the reference that the container was made with, if that
            names another image now.
        now: The moment that durations are counted to.
    """
    now = now or datetime.now(UTC)
    host_config: dict[str, Any] = {"NetworkMode": record.host_config.network_mode}
    if version >= (1, 46) and record.host_config.annotations:
        host_config["Annotations"] = record.host_config.annotations
    fields: dict[str, Any] = {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image if image is None else image,
        "ImageID": record.image_id,
        "Command": command_text(record.path, record.args),
        "Created": int(record.created.timestamp()),
        "Ports": port_summaries(record.ports),
        "Labels": record.config.labels,
        "State": record.state.status,
        "Status": summary_status(record.state, node, now),
        "HostConfig": host_config,
        "NetworkSettings": {
            "Networks": {
                name: endpoint_fields(settings, version) | {"Aliases": None, "DNSNames": None}
                for name, settings in record.networks.items()
            }
        },
        "Mounts": [_mount(mount) for mount in record.mounts],
    }
    if size is not None:
        if size.rw_bytes:
            fields["SizeRw"] = size.rw_bytes
        fields["SizeRootFs"] = size.root_fs_bytes
    if node is not None:
        fields["Node"] = node_fields(node)
    return fields


def exec_inspect(record: ExecRecord) -> dict[str, Any]:
    """Return the answer of ``ExecInspect``."""
    config = record.config
    command = config.cmd or [""]
    process: dict[str, Any] = {
        "tty": config.tty,
        "entrypoint": command[0],
        "arguments": command[1:],
        "privileged": config.privileged,
    }
    if config.user:
        process["user"] = config.user
    return {
        "ID": record.id,
        "Running": record.running,
        "ExitCode": record.exit_code,
        "ProcessConfig": process,
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": record.can_remove,
        "ContainerID": record.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": record.pid,
    }


def node_fields(node: NodeRecord) -> dict[str, Any]:
    """Return the block ``Node`` that classic Swarm put into inspect.

    Of a silent node it also says so, and since when: all else is as it was known then.
    """
    fields: dict[str, Any] = {
        "ID": node.id,
        "Name": node.name,
        "Addr": node.address,
        "IP": node.address,
        "Cpus": node.cpus,
        "Memory": node.memory_bytes,
        "Labels": node.labels,
    }
    if node.state is NodeState.UNREACHABLE:
        fields |= {"Status": "unreachable", "LastSeen": rfc3339_nano(node.last_seen)}
    return fields


def state_fields(state: ContainerState) -> dict[str, Any]:
    """Return ``ContainerState``; ``Health`` only of containers with a health check."""
    fields: dict[str, Any] = {
        "Status": state.status,
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339_nano(state.started_at),
        "FinishedAt": rfc3339_nano(state.finished_at),
    }
    if state.health is not None:
        fields["Health"] = {
            "Status": state.health.status,
            "FailingStreak": state.health.failing_streak,
            "Log": [
                {
                    "Start": rfc3339_nano(probe.start),
                    "End": rfc3339_nano(probe.end),
                    "ExitCode": probe.exit_code,
                    "Output": probe.output,
                }
                for probe in state.health.log
            ],
        }
    return fields


def status_text(state: ContainerState, now: datetime) -> str:
    """Tell the state as ``docker ps`` does: ``Up 2 minutes (healthy)`` (moby ``State.String``)."""
    up = human_duration((now - (state.started_at or now)).total_seconds())
    ago = human_duration((now - (state.finished_at or now)).total_seconds())
    if state.restarting:
        return f"Restarting ({state.exit_code}) {ago} ago"
    if state.running:
        if state.paused:
            return f"Up {up} (Paused)"
        if state.health is not None and state.health.status not in ("", "none"):
            health = state.health.status
            return f"Up {up} ({'health: starting' if health == 'starting' else health})"
        return f"Up {up}"
    if state.status == "removing":
        return "Removal In Progress"
    if state.dead:
        return "Dead"
    if state.started_at is None:
        return "Created"
    if state.finished_at is None:
        return ""
    return f"Exited ({state.exit_code}) {ago} ago"


def summary_status(state: ContainerState, node: NodeRecord | None, now: datetime) -> str:
    """Return ``Status`` of a summary: the state, or that its node is not heard of."""
    if node is None or node.state is not NodeState.UNREACHABLE:
        return status_text(state, now)
    silent = human_duration((now - (node.last_seen or now)).total_seconds())
    return f"Unreachable for {silent} (was {state.status})"


def command_text(path: str, args: Iterable[str]) -> str:
    """Return the command in one line; arguments with blanks are quoted as dockerd quotes them."""
    return " ".join([path, *(f"'{arg}'" if " " in arg else arg for arg in args)])


def port_summaries(ports: dict[str, list[PortBinding] | None]) -> list[dict[str, Any]]:
    """Return ``Port`` for each binding, and for each exposed port that has none."""
    summaries: list[dict[str, Any]] = []
    for port in sorted(ports, key=port_order):
        protocol, number = split_protocol(port)
        private = {"PrivatePort": int(number), "Type": protocol}
        for binding in ports[port] or ():
            bound = {"PublicPort": int(binding.host_port or 0), **private}
            summaries.append({"IP": binding.host_ip, **bound} if binding.host_ip else bound)
        if not ports[port]:
            summaries.append(private)
    return summaries


def _mount(mount: MountPoint) -> dict[str, Any]:
    fields: dict[str, Any] = {"Type": mount.type}
    if mount.name:
        fields["Name"] = mount.name
    fields["Source"] = mount.source
    fields["Destination"] = mount.destination
    if mount.driver:
        fields["Driver"] = mount.driver
    return fields | {"Mode": mount.mode, "RW": mount.rw, "Propagation": mount.propagation}


def _network_settings(record: ContainerRecord, version: Version) -> dict[str, Any]:
    networks = {
        name: endpoint_fields(settings, version) for name, settings in record.networks.items()
    }
    if version < (1, 45):
        for name, fields in networks.items():
            if name not in ("bridge", "host", "none") and fields["Aliases"] is not None:
                fields["Aliases"] = [*fields["Aliases"], record.id[:12]]
    default = networks.get("bridge")
    return {
        "Bridge": "",
        "SandboxID": record.sandbox_id,
        "SandboxKey": record.sandbox_key,
        "Ports": {
            port: None if bindings is None else [bind.model_dump() for bind in bindings]
            for port, bindings in sorted(record.ports.items(), key=lambda item: item[0])
        },
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{
            name: default[name] if default else (0 if name.endswith("PrefixLen") else "")
            for name in _LEGACY_ENDPOINT
        },
        "Networks": networks,
    }


def _add_legacy_mac_address(fields: dict[str, Any], record: ContainerRecord) -> None:
    settings = record.networks.get(record.host_config.network_mode)
    if settings is not None and settings.mac_address:
        fields["MacAddress"] = settings.mac_address
