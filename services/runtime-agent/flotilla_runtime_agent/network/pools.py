"""Address pools of this node alone: the default bridge's subnet and what is taken of it."""

import ipaddress
from collections.abc import Iterable

from flotilla_core.errors import InternalError

IPv4Network = ipaddress.IPv4Network
IPv4Address = ipaddress.IPv4Address


def candidates() -> list[IPv4Network]:
    """Return the default pools in dockerd's order: 172.17-31.0.0/16, then 192.168.0.0/20 and up."""
    wide = [ipaddress.IPv4Network(f"172.{second}.0.0/16") for second in range(17, 32)]
    return wide + list(ipaddress.IPv4Network("192.168.0.0/16").subnets(new_prefix=20))


def choose_pool(taken: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> IPv4Network:
    """Return the first pool that overlaps none of the host's routes.

    Raises:
        InternalError: If all are in use.
    """
    routes = [network for network in taken if isinstance(network, ipaddress.IPv4Network)]
    for pool in candidates():
        if not any(pool.overlaps(route) for route in routes):
            return pool
    raise InternalError("could not find an available, non-overlapping IPv4 address pool")


class Leases:
    """Addresses of one pool by their holder; the lowest free one is given, as dockerd does."""

    def __init__(self, pool: IPv4Network, reserved: Iterable[IPv4Address]) -> None:
        """Start with nothing but the reserved addresses taken."""
        self.pool = pool
        self._reserved = frozenset(reserved)
        self._by_holder: dict[str, IPv4Address] = {}

    def take(self, holder: str, wanted: IPv4Address | None = None) -> IPv4Address:
        """Return the holder's address; a new holder gets the wanted or the lowest free one.

        Raises:
            InternalError: If the wanted address, or every address, is taken.
        """
        if holder in self._by_holder:
            return self._by_holder[holder]
        taken = self._reserved.union(self._by_holder.values())
        if wanted is None:
            address = next((one for one in self.pool.hosts() if one not in taken), None)
            if address is None:
                raise InternalError(
                    "no available IPv4 addresses on this network's address pools: bridge"
                )
        elif wanted in taken:
            raise InternalError("Address already in use")
        else:
            address = wanted
        self._by_holder[holder] = address
        return address

    def free(self, holder: str) -> None:
        """Give the holder's address back; safe to repeat."""
        self._by_holder.pop(holder, None)
