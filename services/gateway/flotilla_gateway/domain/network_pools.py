"""The address pools of a new network: those asked for, and default ones for what was not. Pure."""

import ipaddress
from collections.abc import Sequence

from flotilla_engine.networking import Ipam, IpamConfig
from flotilla_engine.records import NetworkRecord
from flotilla_gateway.domain import ipam
from flotilla_gateway.domain.default_networks import BRIDGE_POOL


def planned(
    asked: NetworkRecord,
    taken: Sequence[ipam.Subnet],
    routed: Sequence[ipam.Subnet],
    defaults: Sequence[ipam.DefaultPool],
) -> tuple[Ipam, Ipam]:
    """Return the pools as inspect shows them, and as addresses are leased from them.

    Args:
        asked: The network.
        taken: Subnets of the other networks: none may overlap with them.
        routed: Subnets that hosts have routes to: none of them is given by default.
        defaults: What subnets are given from.

    Raises:
        FlotillaError: In dockerd's words, if a pool overlaps or none is left.
    """
    if asked.config_only or asked.driver == "host":
        return asked.ipam, Ipam()
    taken = [*taken, ipaddress.ip_network(BRIDGE_POOL.subnet)]
    shown, pools = [], []
    versions = set()
    for config in asked.ipam.config:
        subnet = ipaddress.ip_network(config.subnet)
        shown.append(config)
        if subnet.version == 6 and not asked.enable_ipv6:
            continue
        ipam.refuse_overlap(subnet, taken)
        versions.add(subnet.version)
        pools.append(_with_gateway(config))
    wanted = [4] * asked.enable_ipv4 + [6] * asked.enable_ipv6
    for version in [version for version in wanted if version not in versions]:
        subnet = ipam.default_subnet(defaults, [*taken, *routed], version)
        config = _with_gateway(IpamConfig(subnet=str(subnet)))
        shown.append(config)
        pools.append(config)
    return (
        asked.ipam.model_copy(update={"config": shown}),
        asked.ipam.model_copy(update={"config": pools}),
    )


def _with_gateway(config: IpamConfig) -> IpamConfig:
    gateway = ipam.pool_of(config).gateway
    return config.model_copy(update={"gateway": str(gateway) if gateway else ""})
