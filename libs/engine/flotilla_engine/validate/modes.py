"""Checks of the namespaces' modes, and what cannot go together with a network mode."""

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.volume_specs import destination_error

_UNDEFINED = "This would result in undefined behavior"


def check_network_mode(config: ContainerConfig, host_config: HostConfig) -> None:
    """Check the network mode against everything that it excludes.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    mode = host_config.network_mode
    if mode == "container" or mode.startswith("container:"):
        if not mode.partition(":")[2]:
            raise InvalidArgumentError(
                "Invalid network mode: invalid container format container:<name|id>"
            )
        _check_container_network(config, host_config)
    if host_config.uts_mode == "host" and config.hostname:
        raise InvalidArgumentError("conflicting options: hostname and the UTS mode")
    if mode == "host" and host_config.links:
        raise InvalidArgumentError(
            f"conflicting options: host type networking can't be used with links. {_UNDEFINED}"
        )


def _check_container_network(config: ContainerConfig, host_config: HostConfig) -> None:
    excluded = (
        (config.hostname, "hostname and the network mode"),
        (host_config.links, f"container type network can't be used with links. {_UNDEFINED}"),
        (host_config.dns, "dns and the network mode"),
        (host_config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host_config.port_bindings or host_config.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
        (config.mac_address, "mac-address and the network mode"),
    )
    for given, text in excluded:
        if given:
            raise InvalidArgumentError(f"conflicting options: {text}")


def check_modes(host_config: HostConfig) -> list[str]:
    """Check the other modes and ranges of the host configuration; returns warnings.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    valid = (
        ("IPC", host_config.ipc_mode, ("", "none", "host", "private", "shareable", "container:")),
        ("PID", host_config.pid_mode, ("", "host", "container:")),
        ("UTS", host_config.uts_mode, ("", "host")),
        ("cgroup namespace", host_config.cgroupns_mode, ("", "host", "private")),
    )
    for name, mode, modes in valid:
        is_joined = "container:" in modes and mode.startswith("container:")
        if (mode not in modes and not is_joined) or (name, mode) == ("PID", "container:"):
            raise InvalidArgumentError(f"invalid {name} mode: {mode}")
    if host_config.shm_size < 0:
        raise InvalidArgumentError("SHM size can not be less than 0")
    if not -1000 <= host_config.oom_score_adj <= 1000:
        raise InvalidArgumentError(
            f"Invalid value {host_config.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    if host_config.isolation.lower() not in ("", "default"):
        raise InvalidArgumentError(
            f"Invalid isolation: \"{host_config.isolation}\" - linux only supports 'default'"
        )
    for destination in host_config.tmpfs:
        if wrong := destination_error(destination):
            raise InvalidArgumentError(wrong)
    if host_config.network_mode == "host" and host_config.port_bindings:
        return ["Published ports are discarded when using host network mode"]
    return []
