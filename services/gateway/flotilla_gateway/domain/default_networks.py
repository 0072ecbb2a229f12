"""The networks that are there without being made: bridge, host and none, on every node its own."""

import hashlib
from datetime import UTC, datetime

from flotilla_core.ids import new_id
from flotilla_engine.networking import EndpointSettings, Ipam, IpamConfig
from flotilla_engine.records import EndpointRecord, NetworkRecord
from flotilla_gateway.domain.locator import Located

DEFAULT_NAMES = ("bridge", "host", "none")
BRIDGE_POOL = IpamConfig(subnet="172.17.0.0/16", gateway="172.17.0.1")
_DRIVERS = {"bridge": "bridge", "host": "host", "none": "null"}
_BRIDGE_OPTIONS = {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.enable_icc": "true",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    "com.docker.network.bridge.name": "docker0",
    "com.docker.network.driver.mtu": "1500",
}


def default_networks(fleet_id: str) -> dict[str, NetworkRecord]:
    """Return bridge, host and none: the same ids in the whole fleet, and for ever."""
    networks = {}
    for name in DEFAULT_NAMES:
        networks[name] = NetworkRecord(
            id=hashlib.sha256(f"{fleet_id} {name}".encode()).hexdigest(),
            name=name,
            created=datetime(2024, 1, 1, tzinfo=UTC),
            driver=_DRIVERS[name],
            options=_BRIDGE_OPTIONS if name == "bridge" else {},
            ipam=Ipam(config=[BRIDGE_POOL] if name == "bridge" else []),
        )
    return networks


def default_endpoint(
    network: NetworkRecord, container: Located, asked: EndpointSettings
) -> EndpointRecord:
    """Return an endpoint in a default network; its addresses are its node's business."""
    return EndpointRecord(
        id=new_id(),
        network_id=network.id,
        network_name=network.name,
        container_id=container.id,
        container_name=container.name,
        node_id=container.node_id,
        settings=asked,
    )
