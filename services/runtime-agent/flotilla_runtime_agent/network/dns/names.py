"""Names and addresses of running containers, by network."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flotilla_engine.records import EndpointRecord, NetworkState

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class _NetworkNames:
    name: str
    forward: dict[str, list[Address]] = field(default_factory=dict)
    reverse: dict[Address, str] = field(default_factory=dict)


class Names:
    """What each network's names mean now; a state replaces all that was known of its network."""

    def __init__(self) -> None:
        """Know nothing."""
        self._networks: dict[str, _NetworkNames] = {}

    def update(self, state: NetworkState) -> None:
        """Take over a network's state; only running containers have names."""
        names = _NetworkNames(state.network.name)
        for endpoint in state.endpoints:
            if endpoint.running:
                _add(names, endpoint)
        self._networks[state.network.id] = names

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
                return network.forward[wanted]
        for network in networks:
            short = wanted.removesuffix("." + network.name.lower())
            if short != wanted and short in network.forward:
                return network.forward[short]
        return None

    def name_of(self, network_ids: Iterable[str], address: Address) -> str | None:
        """Return ``container.network`` of an address."""
        for network in self._known(network_ids):
            if address in network.reverse:
                return f"{network.reverse[address]}.{network.name}"
        return None

    def _known(self, network_ids: Iterable[str]) -> Sequence[_NetworkNames]:
        return [self._networks[one] for one in network_ids if one in self._networks]


def _add(names: _NetworkNames, endpoint: EndpointRecord) -> None:
    texts = (endpoint.ipv4_address, endpoint.ipv6_address)
    addresses: list[Address] = [ipaddress.ip_interface(text).ip for text in texts if text]
    for name in {endpoint.container_name.lower(), *(one.lower() for one in endpoint.names)}:
        if name:
            names.forward.setdefault(name, []).extend(addresses)
    for address in addresses:
        names.reverse[address] = endpoint.container_name
