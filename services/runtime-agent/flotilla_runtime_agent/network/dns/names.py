"""Names and addresses of running containers, by network."""

import ipaddress
from collections.abc import Iterable, Sequence

from flotilla_runtime_agent.network.daemon.state import NetworkNames

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Names:
    """What each network's names mean now."""

    def __init__(self) -> None:
        """Know nothing."""
        self._networks: dict[str, NetworkNames] = {}

    def ids(self) -> list[str]:
        """Return which networks are known."""
        return list(self._networks)

    def update(self, names: NetworkNames) -> None:
        """Take over a network's names."""
        self._networks[names.network_id] = names

    def remove(self, network_id: str) -> None:
        """Forget a network."""
        self._networks.pop(network_id, None)

    def addresses(self, network_ids: Iterable[str], name: str) -> list[Address] | None:
        """Return all addresses of a name in the first network that has it, else None.

        ``web`` and ``web.net`` are both names of ``web`` in the network ``net``.
        """
        wanted = name.lower()
        networks = self._known(network_ids)
        for network in networks:
            if wanted in network.forward:
                return [ipaddress.ip_address(one) for one in network.forward[wanted]]
        for network in networks:
            short = wanted.removesuffix("." + network.name.lower())
            if short != wanted and short in network.forward:
                return [ipaddress.ip_address(one) for one in network.forward[short]]
        return None

    def name_of(self, network_ids: Iterable[str], address: Address) -> str | None:
        """Return ``container.network`` of an address."""
        for network in self._known(network_ids):
            if str(address) in network.reverse:
                return f"{network.reverse[str(address)]}.{network.name}"
        return None

    def _known(self, network_ids: Iterable[str]) -> Sequence[NetworkNames]:
        return [self._networks[one] for one in network_ids if one in self._networks]
