"""How a network's record becomes a bridge, and an endpoint's record an interface."""

import ipaddress

from flotilla_core.errors import InternalError
from flotilla_engine.networking import EndpointSettings
from flotilla_engine.records import EndpointRecord, NetworkRecord
from flotilla_runtime_agent.network.bridges import BridgeSpec, mac_for
from flotilla_runtime_agent.network.netlink.route import Interface
from flotilla_runtime_agent.network.sandboxes import Wired

DEFAULT_NETWORK = "bridge"
NO_NETWORK = "none"

_BRIDGE_NAME = "com.docker.network.bridge.name"
_ICC = "com.docker.network.bridge.enable_icc"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
_MTU = "com.docker.network.driver.mtu"
_HOST_IP = "com.docker.network.bridge.host_binding_ipv4"
WIREGUARD_OVERHEAD = 80  # over IPv6; over IPv4 it would be 60, but the MTU is to be one everywhere
_VXLAN_OVERHEAD = 50
_SEALED_OVERHEAD = 70 + WIREGUARD_OVERHEAD  # VXLAN over IPv6, in the tunnel


def bridge_name(network: NetworkRecord) -> str:
    """Return the name of the network's bridge on any node."""
    return network.options.get(_BRIDGE_NAME) or f"fl-{network.id[:12]}"


def vxlan_name(network_id: str) -> str:
    """Return the name of the network's VXLAN link."""
    return f"fx-{network_id[:12]}"


def default_host_ip(network: NetworkRecord) -> str:
    """Return the host address that ports are published at unless one is named."""
    return network.options.get(_HOST_IP, "")


def network_mtu(network: NetworkRecord, uplink_mtu: int) -> int:
    """Return the network's MTU; one that can span hosts leaves room for VXLAN from the start."""
    most = uplink_mtu - _SEALED_OVERHEAD
    if network.options.get(_MTU, "").isdigit():
        asked = int(network.options[_MTU])
        return min(asked, most) if network.encrypted else asked
    if network.encrypted:
        return most
    return uplink_mtu - _VXLAN_OVERHEAD if network.vni else uplink_mtu


def bridge_spec(network: NetworkRecord, uplink_mtu: int) -> BridgeSpec:
    """Return how the network's bridge is to be on a node."""
    return BridgeSpec(
        name=bridge_name(network),
        addresses=gateways_of(network),
        mtu=network_mtu(network, uplink_mtu),
        internal=network.internal,
        masquerade=_is_on(network.options.get(_MASQUERADE, "")),
        inter_container=_is_on(network.options.get(_ICC, "")),
    )


def gateways_of(network: NetworkRecord) -> tuple[Interface, ...]:
    """Return the network's gateways, each with its subnet's prefix."""
    gateways = []
    for pool in network.ipam.config:
        if not pool.subnet:
            continue
        subnet = ipaddress.ip_network(pool.subnet, strict=False)
        gateway = pool.gateway.split("/")[0] or str(subnet[1])
        gateways.append(ipaddress.ip_interface(f"{gateway}/{subnet.prefixlen}"))
    return tuple(gateways)


def wired_endpoint(
    endpoint: EndpointRecord, gateways: tuple[Interface, ...], *, driver: str, internal: bool
) -> Wired:
    """Return an endpoint with its addresses, gateways and MAC address in force.

    Raises:
        InternalError: If the endpoint has no address at all.
    """
    addresses = [text for text in (endpoint.ipv4_address, endpoint.ipv6_address) if text]
    if not addresses:
        raise InternalError(
            f"endpoint {endpoint.id} of network {endpoint.network_name} has no address"
        )
    parsed = [ipaddress.ip_interface(text) for text in addresses]
    ways = [
        str(gateway.ip) for gateway in gateways if any(one.ip in gateway.network for one in parsed)
    ]
    return Wired(
        endpoint=endpoint,
        driver=driver,
        mac_address=(
            endpoint.mac_address or endpoint.settings.mac_address or mac_for(parsed[0].ip)
        ),
        addresses=addresses,
        gateways=ways,
        internal=internal,
    )


def settings_in_force(wired: Wired, *, is_default: bool) -> EndpointSettings:
    """Return an endpoint as inspect shows it."""
    settings = wired.endpoint.settings.model_copy(deep=True)
    settings.network_id = wired.endpoint.network_id
    settings.endpoint_id = wired.endpoint.id
    settings.mac_address = wired.mac_address
    settings.dns_names = [] if is_default else list(wired.endpoint.names)
    for text in wired.addresses:
        address = ipaddress.ip_interface(text)
        gateway = next((one for one in wired.gateways if (":" in one) == (":" in text)), "")
        if wired.internal:
            gateway = ""
        if address.version == 4:
            settings.ip_address, settings.ip_prefix_len = str(address.ip), address.network.prefixlen
            settings.gateway = gateway
        else:
            settings.global_ipv6_address = str(address.ip)
            settings.global_ipv6_prefix_len = address.network.prefixlen
            settings.ipv6_gateway = gateway
    return settings


def gateway_endpoint(wired: list[Wired]) -> Wired | None:
    """Return the network that gives the default route and publishes the ports.

    dockerd's order: the higher gateway priority, then not internal, then by name.
    """
    able = [one for one in wired if not one.internal and one.gateways]
    return min(
        able,
        key=lambda one: (-one.endpoint.settings.gw_priority, one.endpoint.network_name),
        default=None,
    )


def is_in_user_network(wired: list[Wired]) -> bool:
    """Say whether a container has the embedded DNS server."""
    return any(one.endpoint.network_name != DEFAULT_NETWORK for one in wired)


def _is_on(text: str) -> bool:
    return text.lower() not in ("false", "0", "f")
