"""Networks and endpoints on the wire (``Network``, ``EndpointSettings``)."""

from collections.abc import Iterable
from typing import Any

from flotilla_engine.networking import EndpointSettings, Ipam
from flotilla_engine.records import EndpointRecord, NetworkRecord
from flotilla_engine.timestamps import rfc3339_nano
from flotilla_engine.versions import MAXIMUM, Version


def endpoint_fields(settings: EndpointSettings, version: Version = MAXIMUM) -> dict[str, Any]:
    """Return ``EndpointSettings``."""
    ipam = settings.ipam_config
    fields: dict[str, Any] = {
        "IPAMConfig": None if ipam is None else ipam.model_dump(exclude_defaults=True),
        "Links": settings.links or None,
        "Aliases": settings.aliases or None,
        "MacAddress": settings.mac_address,
        "DriverOpts": settings.driver_opts or None,
        "NetworkID": settings.network_id,
        "EndpointID": settings.endpoint_id,
        "Gateway": settings.gateway,
        "IPAddress": settings.ip_address,
        "IPPrefixLen": settings.ip_prefix_len,
        "IPv6Gateway": settings.ipv6_gateway,
        "GlobalIPv6Address": settings.global_ipv6_address,
        "GlobalIPv6PrefixLen": settings.global_ipv6_prefix_len,
        "DNSNames": settings.dns_names or None,
    }
    if version >= (1, 48):
        fields["GwPriority"] = settings.gw_priority
    return fields


def network_fields(
    network: NetworkRecord,
    endpoints: Iterable[EndpointRecord] | None = None,
    version: Version = MAXIMUM,
) -> dict[str, Any]:
    """Return ``Network``.

    Args:
        network: The network.
        endpoints: Those of running containers, for inspect; None for the list.
        version: The client's.
    """
    fields: dict[str, Any] = {
        "Name": network.name,
        "Id": network.id,
        "Created": rfc3339_nano(network.created),
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv6": network.enable_ipv6,
        "IPAM": _ipam(network.ipam),
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": network.ingress,
        "ConfigFrom": {"Network": network.config_from},
        "ConfigOnly": network.config_only,
        "Containers": {end.container_id: _member(end) for end in endpoints or ()},
        "Options": network.options,
        "Labels": network.labels,
    }
    if version >= (1, 48):
        fields["EnableIPv4"] = network.enable_ipv4
    return fields


def _ipam(ipam: Ipam) -> dict[str, Any]:
    pools = [pool.model_dump(exclude_defaults=True) for pool in ipam.config]
    return {"Driver": ipam.driver, "Options": ipam.options, "Config": pools or None}


def _member(endpoint: EndpointRecord) -> dict[str, str]:
    return {
        "Name": endpoint.container_name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": endpoint.ipv4_address,
        "IPv6Address": endpoint.ipv6_address,
    }
