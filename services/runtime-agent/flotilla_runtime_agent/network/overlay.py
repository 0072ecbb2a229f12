"""A network's VXLAN part on this node: where each endpoint of another node is.

Nothing is learnt and nothing flooded: the entries are exactly those of the network's state.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from flotilla_engine.records import NetworkNode, NetworkState
from flotilla_runtime_agent.network.netlink.links import VxlanKind
from flotilla_runtime_agent.network.netlink.route import Address, RouteSocket


@dataclass(frozen=True)
class Remote:
    """An endpoint's address on another node."""

    mac_address: str
    address: Address
    node: Address


def remotes(state: NetworkState, node_id: str) -> list[Remote]:
    """Return what of the network is on other nodes; without those that cannot encrypt it."""
    nodes = {
        node.id: ipaddress.ip_address(text)
        for node in state.nodes
        if (text := _vxlan_address(node, encrypted=state.network.encrypted))
    }
    found = []
    for endpoint in state.endpoints:
        node = nodes.get(endpoint.node_id)
        if node is None or endpoint.node_id == node_id or not endpoint.mac_address:
            continue
        for text in (endpoint.ipv4_address, endpoint.ipv6_address):
            if text:
                address = ipaddress.ip_interface(text).ip
                found.append(Remote(endpoint.mac_address.lower(), address, node))
    return found


def _vxlan_address(node: NetworkNode, *, encrypted: bool) -> str:
    if encrypted:
        return node.tunnel.address if node.tunnel else ""
    return node.address


class Overlay:
    """Programs VXLAN links; blocks briefly, for the thread that changes the host's network."""

    def __init__(self, route: RouteSocket) -> None:
        """Use this socket, which the caller closes."""
        self._route = route

    def program(
        self, bridge: str, vxlan: str, kind: VxlanKind, mtu: int, wanted: Iterable[Remote]
    ) -> None:
        """Have the VXLAN link on the bridge, and exactly these entries."""
        bridge_index = self._route.link(bridge).index
        self._route.add_link(vxlan, kind, mtu=mtu)
        link = self._route.link(vxlan)
        if link.master != bridge_index or not link.up:
            self._route.change_link(link.index, up=True, master=bridge_index)
            self._route.set_bridge_port(link.index, learning=False, suppress_neighbours=True)
        entries = list(wanted)
        self._program_forwarding(link.index, entries)
        self._program_neighbours(bridge_index, entries)

    def remove(self, bridge: str, vxlan: str) -> None:
        """Remove the link and the neighbours; safe to repeat."""
        self._route.delete_link(vxlan)
        found = self._route.find_link(bridge)
        if found is not None:
            self._program_neighbours(found.index, [])

    def _program_forwarding(self, index: int, wanted: list[Remote]) -> None:
        tunnels = {(one.mac_address, one.node) for one in wanted}
        ports = {one.mac_address for one in wanted}
        own = self._own_mac(index)
        entries = self._route.forwarding(index)
        has_tunnels = {
            (one.mac_address, one.destination) for one in entries if one.destination is not None
        }
        has_ports = {one.mac_address for one in entries if one.destination is None} - {own}
        for mac, node in has_tunnels - tunnels:
            self._route.delete_forwarding(index, mac, remote=node)
        for mac in has_ports - ports:
            self._route.delete_forwarding(index, mac)
        for mac, node in tunnels - has_tunnels:
            self._route.set_forwarding(index, mac, remote=node)
        for mac in ports - has_ports:
            self._route.set_forwarding(index, mac)

    def _own_mac(self, index: int) -> str:
        return next(link.mac_address for link in self._route.links() if link.index == index)

    def _program_neighbours(self, index: int, wanted: list[Remote]) -> None:
        addresses = {(one.address, one.mac_address) for one in wanted}
        has = {
            (entry.destination, entry.mac_address)
            for entry in self._route.neighbours(index)
            if entry.destination is not None
        }
        for address, _ in has - addresses:
            self._route.delete_neighbour(index, address)
        for address, mac in addresses - has:
            self._route.set_neighbour(index, address, mac)
