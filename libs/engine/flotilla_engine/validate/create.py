"""Checks of ``ContainerCreate`` (moby ``daemon/container.go``, ``runconfig``)."""

import posixpath
import re
from ipaddress import ip_address

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.capabilities import normalised
from flotilla_engine.config import ContainerConfig, HealthConfig
from flotilla_engine.defaults import adapt_to_version
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import NetworkingConfig
from flotilla_engine.ports import normalised_bindings
from flotilla_engine.signals import parse_signal
from flotilla_engine.validate.endpoints import move_mac_address
from flotilla_engine.validate.logging import check_log_config
from flotilla_engine.validate.modes import check_modes, check_network_mode
from flotilla_engine.validate.mounts import check_mounts
from flotilla_engine.validate.resources import check_resources, check_restart_policy
from flotilla_engine.versions import MAXIMUM, Version

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_MINIMUM_NS = 1_000_000
_SECURITY_OPTIONS = ("label", "apparmor", "seccomp", "no-new-privileges", "systempaths")


def check_name(name: str) -> str:
    """Check a container's name and return it without its slash.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return name.removeprefix("/")


def check_rename(old: str, new: str) -> str:
    """Check a container's new name and return it without its slash.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if not new:
        raise InvalidArgumentError("Neither old nor new names may be empty")
    name = check_name(new)
    if name == old:
        raise InvalidArgumentError("Renaming a container with the same name as its current name")
    return name


def check_create(
    config: ContainerConfig,
    host_config: HostConfig,
    networking: NetworkingConfig,
    version: Version = MAXIMUM,
) -> list[str]:
    """Check a create request; returns warnings.

    Adapts the request to the client's version first, cleans its working folder, and moves a
    container-wide MAC address to its endpoint. What is left open is for ``defaults.fill_in``.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    adapt_to_version(config, host_config, version)
    check_network_mode(config, host_config)
    warnings = move_mac_address(config, host_config, networking, version)
    if version < (1, 44) and len(networking.endpoints_config) > 1:
        names = ", ".join(networking.endpoints_config)
        raise InvalidArgumentError(
            f"Container cannot be created with multiple network endpoints: {names}"
        )
    for name, settings in networking.endpoints_config.items():
        if settings is None:
            raise InvalidArgumentError(f"invalid config for network {name}: EndpointsConfig is nil")
    _check_config(config)
    if host_config.auto_remove and host_config.restart_policy.name not in ("", "no"):
        raise InvalidArgumentError("can't create 'AutoRemove' container with restart policy")
    check_mounts(host_config, version)
    for host in host_config.extra_hosts:
        _check_extra_host(host)
    normalised_bindings(host_config.port_bindings)
    check_restart_policy(host_config.restart_policy)
    _check_capabilities(host_config)
    if "" in host_config.annotations:
        raise InvalidArgumentError(
            "invalid Annotations: the empty string is not permitted as an annotation key"
        )
    warnings += check_resources(host_config)
    warnings += check_modes(host_config)
    check_log_config(host_config.log_config)
    _check_security(host_config)
    for option in host_config.storage_opt:
        if option.lower() != "size":
            raise InvalidArgumentError(f"Unknown option {option}")
    for link in host_config.links:
        _check_link(link)
    return warnings


def _check_config(config: ContainerConfig) -> None:
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgumentError(
            f"the working directory '{config.working_dir}' is invalid, "
            "it needs to be an absolute path"
        )
    if config.working_dir:
        config.working_dir = "/" + posixpath.normpath(config.working_dir).lstrip("/")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for variable in config.env:
        if not variable.partition("=")[0]:
            raise InvalidArgumentError(f"invalid environment variable: {variable}")
    if config.healthcheck is not None:
        _check_health(config.healthcheck)


def _check_health(health: HealthConfig) -> None:
    durations = (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    )
    for name, duration in durations:
        if duration != 0 and duration < _MINIMUM_NS:
            raise InvalidArgumentError(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidArgumentError("Retries in Healthcheck cannot be negative")


def _check_extra_host(entry: str) -> None:
    name, colon, address = entry.partition(":")
    if not colon or not name:
        raise InvalidArgumentError(f'bad format for add-host: "{entry}"')
    if address == "host-gateway":
        return
    if not _is_address(address):
        raise InvalidArgumentError(f'invalid IP address in add-host: "{address}"')


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]") if text.startswith("[") else text)
    except ValueError:
        return False
    return True


def _check_capabilities(host_config: HostConfig) -> None:
    for field, names in (("CapAdd", host_config.cap_add), ("CapDrop", host_config.cap_drop)):
        try:
            normalised(names)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"invalid {field}: {error.message}") from None


def _check_security(host_config: HostConfig) -> None:
    for option in host_config.security_opt:
        if option in ("no-new-privileges", "disable"):
            continue
        separator = "=" if "=" in option else ":"
        key, found, _ = option.partition(separator)
        if not found:
            raise InvalidArgumentError(f'invalid --security-opt 1: "{option}"')
        if key not in _SECURITY_OPTIONS:
            raise InvalidArgumentError(f'invalid --security-opt 2: "{option}"')


def _check_link(link: str) -> None:
    if not link:
        raise InvalidArgumentError("empty string specified for links")
    if link.count(":") > 1:
        raise InvalidArgumentError(f"bad format for links: {link}")
