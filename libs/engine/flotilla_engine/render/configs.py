"""``ContainerConfig`` and ``HostConfig`` on the wire, as inspect shows them."""

from typing import Any

from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.ports import port_order


def config_fields(config: ContainerConfig) -> dict[str, Any]:
    """Return ``ContainerConfig``, with what dockerd leaves out when empty left out."""
    fields: dict[str, Any] = {
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.attach_stdin,
        "AttachStdout": config.attach_stdout,
        "AttachStderr": config.attach_stderr,
    }
    if config.exposed_ports:
        fields["ExposedPorts"] = {port: {} for port in sorted(config.exposed_ports, key=port_order)}
    fields |= {
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": config.env,
        "Cmd": config.cmd,
    }
    if config.healthcheck is not None:
        fields["Healthcheck"] = config.healthcheck.model_dump(exclude_defaults=True)
    if config.args_escaped:
        fields["ArgsEscaped"] = True
    fields |= {
        "Image": config.image,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
    }
    if config.network_disabled:
        fields["NetworkDisabled"] = True
    if config.mac_address:
        fields["MacAddress"] = config.mac_address
    fields["OnBuild"] = config.on_build or None
    fields["Labels"] = config.labels
    if config.stop_signal:
        fields["StopSignal"] = config.stop_signal
    if config.stop_timeout is not None:
        fields["StopTimeout"] = config.stop_timeout
    if config.shell:
        fields["Shell"] = config.shell
    return fields


_NULL_WHEN_EMPTY = (
    "Binds", "VolumesFrom", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "Links", "SecurityOpt",
    "DeviceCgroupRules", "DeviceRequests",
)  # fmt: skip
_ABSENT_WHEN_EMPTY = (
    "Mounts", "Annotations", "Tmpfs", "StorageOpt", "Sysctls", "Init", "KernelMemory",
    "KernelMemoryTCP", "Capabilities",
)  # fmt: skip


def host_config_fields(host_config: HostConfig) -> dict[str, Any]:
    """Return ``HostConfig``: empty lists as the docker CLI's own requests leave them in dockerd."""
    fields: dict[str, Any] = host_config.model_dump(mode="json")
    for name in _NULL_WHEN_EMPTY:
        fields[name] = fields[name] or None
    for name in _ABSENT_WHEN_EMPTY:
        if fields[name] is None or (name != "Init" and not fields[name]):
            del fields[name]
    if "Mounts" in fields:
        fields["Mounts"] = [
            mount.model_dump(mode="json", exclude_defaults=True) for mount in host_config.mounts
        ]
    fields["ConsoleSize"] = host_config.console_size or [0, 0]
    return fields
