"""Checks of a container's place in a network, and of where its MAC address is given."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.networking import EndpointIPAMConfig, EndpointSettings, NetworkingConfig
from flotilla_engine.records import NetworkRecord
from flotilla_engine.versions import Version

_PREDEFINED = frozenset({"bridge", "default", "host", "none"})
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_ON_USER_NETWORKS = "user specified IP address is supported on user defined networks only"
_WITH_SUBNETS = (
    "user specified IP address is supported only when connecting to networks "
    "with user configured subnets"
)


def check_endpoint(
    network: NetworkRecord, settings: EndpointSettings | None, *, configured_subnets: bool
) -> None:
    """Check what is asked of an endpoint.

    Args:
        network: The network to join.
        settings: What was asked.
        configured_subnets: Whether the network's subnets were given by its user.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    where = f"invalid config for network {network.name}: "
    if settings is None:
        raise InvalidArgumentError(where + "EndpointsConfig is nil")
    if settings.mac_address and not _MAC.fullmatch(settings.mac_address):
        raise InvalidArgumentError(f"{where}invalid MAC address {settings.mac_address}")
    wrong: list[str] = []
    if settings.ipam_config is not None:
        wrong += _address_errors(network, settings.ipam_config, configured=configured_subnets)
    if settings.aliases and network.name in _PREDEFINED:
        wrong.append(
            "network-scoped alias is supported only for containers in user defined networks"
        )
    if wrong:
        lines = wrong if len(wrong) == 1 else [f"* {line}" for line in wrong]
        raise InvalidArgumentError(f"{where}invalid endpoint settings:\n" + "\n".join(lines))


def _address_errors(
    network: NetworkRecord, ipam: EndpointIPAMConfig, *, configured: bool
) -> list[str]:
    wrong = []
    if ipam.ipv4_address and not _is_ipv4(ipam.ipv4_address):
        wrong.append(f"invalid IPv4 address: {ipam.ipv4_address}")
    if ipam.ipv6_address and not _is_ipv6(ipam.ipv6_address):
        wrong.append(f"invalid IPv6 address: {ipam.ipv6_address}")
    asked = [address for address in (ipam.ipv4_address, ipam.ipv6_address) if address]
    if not asked:
        return wrong
    if network.name in _PREDEFINED:
        wrong.append(_ON_USER_NETWORKS)
    versions = (4, ipam.ipv4_address), (6, ipam.ipv6_address)
    for version, address in versions:
        if address and (fault := _pool_fault(network, version, address, configured=configured)):
            wrong.append(fault)
    return list(dict.fromkeys(wrong))


def _pool_fault(network: NetworkRecord, version: int, address: str, *, configured: bool) -> str:
    subnets = [ip_network(pool.subnet, strict=False) for pool in network.ipam.config if pool.subnet]
    subnets = [subnet for subnet in subnets if subnet.version == version]
    if not configured or not subnets:
        return _WITH_SUBNETS
    is_address = _is_ipv4(address) if version == 4 else _is_ipv6(address)
    if is_address and any(ip_address(address) in subnet for subnet in subnets):
        return ""
    return f"no configured subnet or ip-range contain the IP address {address}"


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def move_mac_address(
    config: ContainerConfig,
    host_config: HostConfig,
    networking: NetworkingConfig,
    version: Version,
) -> list[str]:
    """Move the container-wide MAC address to the endpoint that it is for; returns warnings.

    Raises:
        InvalidArgumentError: If both are given and differ, with dockerd's text.
    """
    mac, config.mac_address = config.mac_address, ""
    endpoints = networking.endpoints_config
    if not mac:
        if version < (1, 44):
            for settings in endpoints.values():
                if settings is not None:
                    settings.mac_address = ""
        return []
    mode = host_config.network_mode or "default"
    if mode == "default" and "bridge" in endpoints:
        mode = "bridge"
    has_networks = mode not in ("host", "none") and not mode.startswith("container:")
    if version < (1, 44):
        if not has_networks:
            raise InvalidArgumentError("conflicting options: mac-address and the network mode")
        name = next(iter(endpoints), mode)
        _settings(endpoints, name).mac_address = mac
        return []
    if has_networks:
        settings = _settings(endpoints, mode)
        if settings.mac_address not in ("", mac):
            raise InvalidArgumentError(
                "the container-wide MAC address must match the endpoint-specific MAC address "
                "for the main network, or be left empty"
            )
        settings.mac_address = mac
    config.mac_address = mac  # which inspect shows
    return [
        "The container-wide MacAddress field is now deprecated. "
        "It should be specified in EndpointsConfig instead."
    ]


def _settings(endpoints: dict[str, EndpointSettings | None], name: str) -> EndpointSettings:
    settings = endpoints.get(name)
    if settings is None:
        settings = endpoints[name] = EndpointSettings()
    return settings
