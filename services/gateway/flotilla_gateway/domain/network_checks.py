"""What networks may be asked for: dockerd's refusals, pure."""

import ipaddress
import re
from collections.abc import Sequence

from flotilla_core.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_engine.records import NetworkRecord
from flotilla_gateway.domain import ipam
from flotilla_gateway.domain.locator import Located

BOOLEANS = frozenset(
    {"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"}
)
_USER_DRIVERS = ("bridge", "macvlan", "overlay")
_BRIDGE = "com.docker.network.bridge"
_BRIDGE_NAME = f"{_BRIDGE}.name"
_HOST_IP = f"{_BRIDGE}.host_binding_ipv4"
_MTU = "com.docker.network.driver.mtu"
_FLAGS = (f"{_BRIDGE}.enable_icc", f"{_BRIDGE}.enable_ip_masquerade")
_INTERFACE_NAME_BYTES = 15
_MACVLAN_MODES = ("", "bridge", "private", "vepa", "passthru")


def check_request(asked: NetworkRecord) -> None:
    """Check what is asked of a new network. Raises: FlotillaError."""
    ipam.validate(asked.ipam, enable_ipv6=asked.enable_ipv6)
    if not asked.name.strip():
        raise InvalidArgumentError(f"invalid name: {asked.name}")
    if asked.config_only:
        _check_configuration(asked)
        return
    if asked.driver in ("host", "null"):
        raise PermissionDeniedError(f'only one instance of "{asked.driver}" network is allowed')
    if asked.driver not in _USER_DRIVERS:
        raise NotFoundError(f'plugin "{asked.driver}" not found')
    if asked.ingress:
        raise PermissionDeniedError("Ingress network can only be global scope network")
    if asked.scope == "swarm":
        raise PermissionDeniedError("cannot create a swarm scoped network when swarm is not active")
    if asked.ipam.driver not in ("default", "null", ""):
        raise NotFoundError(f'plugin "{asked.ipam.driver}" not found')
    ipam.refuse_taken(asked.ipam)
    versions = [
        ipaddress.ip_network(config.subnet).version for config in asked.ipam.config if config.subnet
    ]
    if versions.count(4) > 1 or versions.count(6) > 1:
        raise PermissionDeniedError(f"{asked.driver} driver doesn't support multiple subnets")
    if asked.driver == "macvlan":
        _check_macvlan(asked.options)
    else:
        _check_bridge(asked)


def check_depending(asked: NetworkRecord) -> None:
    """Check what is asked beside a configuration network. Raises: PermissionDeniedError."""
    if asked.config_only:
        raise PermissionDeniedError(
            "a configuration network cannot depend on another configuration network"
        )
    pools = asked.ipam.config or asked.ipam.options or asked.ipam.driver not in ("", "default")
    if pools or asked.enable_ipv6 or asked.labels:
        raise PermissionDeniedError(
            "user specified configurations are not supported if the network depends on a "
            "configuration network"
        )
    if asked.options:
        raise PermissionDeniedError(
            "network driver options are not supported if the network depends on a "
            "configuration network"
        )


def _check_configuration(asked: NetworkRecord) -> None:
    if asked.ingress or asked.internal or asked.attachable or asked.scope != "local":
        raise PermissionDeniedError(
            "configuration network can only contain network specific fields. Network operator "
            "fields like [ ingress | internal | attachable | scope ] are not supported."
        )


def _check_bridge(asked: NetworkRecord) -> None:
    options = asked.options
    if asked.ipam.driver == "null":
        raise InvalidArgumentError("ipv4 pool is empty")
    for name in _FLAGS:
        if name in options and options[name] not in BOOLEANS:
            raise InvalidArgumentError(
                f"failed to parse {name} value: {options[name]} (strconv.ParseBool: parsing "
                f'"{options[name]}": invalid syntax)'
            )
    mtu = options.get(_MTU, "")
    if mtu and not re.fullmatch(r"[+-]?\d+", mtu):
        raise InvalidArgumentError(
            f'failed to parse {_MTU} value: {mtu} (strconv.Atoi: parsing "{mtu}": invalid syntax)'
        )
    if mtu.startswith("-") and int(mtu):
        raise InvalidArgumentError(f"invalid MTU number: {int(mtu)}")
    host_ip = options.get(_HOST_IP)
    if host_ip is not None and not _is_address(host_ip):
        raise InvalidArgumentError(f"failed to parse {_HOST_IP} value: {host_ip} (nil ip)")
    if len(options.get(_BRIDGE_NAME, "").encode()) > _INTERFACE_NAME_BYTES:
        raise InternalError("numerical result out of range")


def _check_macvlan(options: dict[str, str]) -> None:
    mode = options.get("macvlan_mode", "")
    if mode not in _MACVLAN_MODES:
        raise InternalError(
            f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver "
            "default"
        )
    if options.get("parent") == "lo":
        raise InternalError("loopback interface is not a valid macvlan parent link")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_bridge_name(
    asked: NetworkRecord, identifier: str, others: Sequence[NetworkRecord]
) -> None:
    """Refuse the name of another network's bridge. Raises: PermissionDeniedError."""
    name = asked.options.get(_BRIDGE_NAME)
    for other in others:
        if name and other.options.get(_BRIDGE_NAME) == name:
            raise PermissionDeniedError(
                f"cannot create network {identifier} ({name}): conflicts with network "
                f"{other.id} ({name}): networks have same bridge name"
            )


def check_connect(network: NetworkRecord, container: Located) -> None:
    """Check that a container can join a network at all. Raises: FlotillaError."""
    mode = container.record.host_config.network_mode
    if mode.startswith("container:") or (mode == "host" and network.name != "host"):
        raise InvalidArgumentError(
            "container sharing network namespace with another container or host cannot be "
            "connected to any other network"
        )
    if network.name == "host":
        raise InvalidArgumentError(
            "container cannot be disconnected from host network or connected to host network"
        )
    if network.config_only:
        raise PermissionDeniedError(
            f"cannot connect container to a configuration network: {network.name}"
        )
    names = set(container.record.networks) - {network.name}
    if (network.name == "none" and names) or "none" in names:
        raise InvalidArgumentError(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode"
        )
