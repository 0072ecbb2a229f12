"""What networks may be asked for: dockerd's refusals, pure."""

import ipaddress
import re
from collections.abc import Sequence

from flotilla_core.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from flotilla_engine.records import NetworkRecord
from flotilla_gateway.domain import ipam
from flotilla_gateway.domain.locator import Located

_USER_DRIVERS = ("bridge", "macvlan", "overlay")
_BRIDGE_NAME = "com.docker.network.bridge.name"
_MTU = "com.docker.network.driver.mtu"


def check_request(asked: NetworkRecord) -> None:
    """Check what is asked of a new network. Raises: FlotillaError."""
    if asked.driver in ("host", "null"):
        if not asked.config_only:
            raise PermissionDeniedError(f'only one instance of "{asked.driver}" network is allowed')
    elif asked.driver not in _USER_DRIVERS:
        raise NotFoundError(f'plugin "{asked.driver}" not found')
    if asked.ingress:
        raise PermissionDeniedError("Ingress network can only be global scope network")
    if asked.scope == "swarm":
        raise PermissionDeniedError("cannot create a swarm scoped network when swarm is not active")
    if asked.ipam.driver not in ("default", "null", ""):
        raise NotFoundError(f'plugin "{asked.ipam.driver}" not found')
    ipam.validate(asked.ipam, enable_ipv6=asked.enable_ipv6)
    mtu = asked.options.get(_MTU, "")
    if mtu and not re.fullmatch(r"[+-]?\d+", mtu):
        raise InvalidArgumentError(
            f'failed to parse {_MTU} value: {mtu} (strconv.Atoi: parsing "{mtu}": invalid syntax)'
        )
    versions = [
        ipaddress.ip_network(config.subnet).version for config in asked.ipam.config if config.subnet
    ]
    if versions.count(4) > 1 or versions.count(6) > 1:
        raise PermissionDeniedError(f"{asked.driver} driver doesn't support multiple subnets")


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
