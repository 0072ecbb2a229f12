"""The host's network as the agent changes it: all of it in one thread, one change at a time."""

import asyncio
import ipaddress
import logging
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from flotilla_engine.records import NetworkState
from flotilla_runtime_agent.network import namespaces
from flotilla_runtime_agent.network.bridges import (
    Bridges,
    BridgeSpec,
    Plug,
    host_networks,
    remove_interface,
    set_default_routes,
)
from flotilla_runtime_agent.network.firewall import VXLAN_PORT, Firewall, tunnel_element
from flotilla_runtime_agent.network.netlink.conntrack import forget
from flotilla_runtime_agent.network.netlink.links import VxlanKind
from flotilla_runtime_agent.network.netlink.nftables import Element, Protocol
from flotilla_runtime_agent.network.netlink.route import Address, RouteSocket
from flotilla_runtime_agent.network.overlay import Overlay, remotes
from flotilla_runtime_agent.network.pools import choose_pool
from flotilla_runtime_agent.network.sandboxes import (
    SandboxRecord,
    Wired,
    read_json,
    write_json,
)
from flotilla_runtime_agent.network.specs import (
    bridge_name,
    gateway_endpoint,
    network_mtu,
    vxlan_name,
)
from flotilla_runtime_agent.network.tunnel import Tunnel, TunnelSettings
from flotilla_runtime_agent.network.wireguard import TunnelError

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_STANDARD_MTU = 1500


class KernelThread:
    """The one thread in which the host's network is read and changed."""

    def __init__(self) -> None:
        """Start no thread before the first call."""
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")

    async def run(self, function: Callable[[], T]) -> T:
        """Run the function to its end, even if the caller is cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._pool, function))

    async def close(self) -> None:
        """Wait for what runs."""
        await asyncio.to_thread(self._pool.shutdown)


class _DefaultPool(BaseModel):
    """The default bridge's subnet, kept so that it stays the same."""

    subnet: str


class Host:
    """Bridges, tunnels, sandboxes and firewall of this host; every method blocks briefly."""

    def __init__(
        self,
        folder: Path,
        run_folder: Path,
        *,
        node_id: str,
        address: str,
        table: str,
        tunnel: TunnelSettings,
    ) -> None:
        """Open the sockets in this thread's network namespace."""
        self._folder = folder
        self._node_id = node_id
        self._route = RouteSocket()
        self._firewall = Firewall(table)
        self._bridges = Bridges(self._route, self._firewall, folder / "bridges")
        self._overlay = Overlay(self._route)
        self._address = ipaddress.ip_address(address) if address else self._own_address()
        self._uplink_mtu = self._find_uplink_mtu()
        self.tunnel = Tunnel(
            self._route,
            tunnel,
            node_id=node_id,
            folder=folder,
            run_folder=run_folder,
            uplink_mtu=self._uplink_mtu,
        )

    @property
    def uplink_mtu(self) -> int:
        """Return the MTU towards the other nodes."""
        return self._uplink_mtu

    @property
    def address(self) -> Address:
        """Return the address at which other nodes reach this one."""
        return self._address

    def close(self) -> None:
        """Close the sockets; everything in the kernel stays."""
        self._route.close()
        self._firewall.close()

    def default_subnet(self) -> ipaddress.IPv4Network:
        """Return the default bridge's subnet, chosen free of the host's routes the first time."""
        path = self._folder / "default.json"
        kept = read_json(path, _DefaultPool)
        if kept is not None:
            return ipaddress.IPv4Network(kept.subnet)
        pool = choose_pool(host_networks(self._route))
        write_json(path, _DefaultPool(subnet=str(pool)))
        return pool

    def install(self, specs: Sequence[BridgeSpec], elements: Iterable[Element]) -> None:
        """Make bridges, and the firewall's table with all that is to be in it, in one go."""
        namespaces.write_sysctl("net/ipv4/ip_forward", "1")
        wanted = list(elements)
        for spec in specs:
            self._bridges.prepare(spec)
            wanted.extend(spec.elements())
        self._firewall.install(wanted)
        self._firewall.repair()

    def repair(self) -> bool:
        """Make the firewall's table again if others removed it."""
        return self._firewall.repair()

    def ensure_bridge(self, spec: BridgeSpec) -> None:
        """Have a bridge."""
        self._bridges.ensure(spec)

    def wire(self, namespace: Path, plugs: Sequence[tuple[Wired, Plug]]) -> None:
        """Plug a sandbox into its networks; nothing stays of an attempt that fails."""
        descriptor = namespaces.opened(namespace)
        try:
            for wired, plug in plugs:
                if wired.driver == "macvlan":
                    parent, _, mode = wired.bridge.partition(":")
                    self._bridges.plug_macvlan(parent, mode, plug, descriptor)
                else:
                    self._bridges.plug(wired.bridge, plug, descriptor)
        except OSError:
            for wired, plug in plugs:
                if wired.driver != "macvlan":
                    self._bridges.unplug(plug.host_interface)
            raise
        finally:
            os.close(descriptor)

    def unwire(self, namespace: Path, wired: Wired) -> None:
        """Take one network from a sandbox."""
        if wired.host_interface:
            self._bridges.unplug(wired.host_interface)
            return
        descriptor = namespaces.opened(namespace)
        try:
            remove_interface(wired.interface, descriptor)
        finally:
            os.close(descriptor)

    def route_by(self, namespace: Path, wired: list[Wired]) -> None:
        """Set a sandbox's default routes by the networks that it has."""
        ways: dict[int, tuple[str, Address] | None] = {4: None, 6: None}
        chosen = gateway_endpoint(wired)
        candidates = [chosen] if chosen else []
        candidates += [one for one in wired if not one.internal and one is not chosen]
        for one in reversed(candidates):
            for text in one.gateways:
                gateway = ipaddress.ip_address(text)
                ways[gateway.version] = (one.interface, gateway)
        descriptor = namespaces.opened(namespace)
        try:
            set_default_routes(ways, descriptor)
        finally:
            os.close(descriptor)

    def publish(self, elements: Iterable[Element], udp_ports: Iterable[int]) -> None:
        """Add published ports; flows to the UDP ones begin anew."""
        self._firewall.add(elements)
        for port in udp_ports:
            forget(Protocol.UDP, port)

    def withdraw(self, elements: Iterable[Element], udp_ports: Iterable[int]) -> None:
        """Take published ports away; flows to the UDP ones begin anew."""
        self._firewall.remove(elements)
        for port in udp_ports:
            forget(Protocol.UDP, port)

    def apply(self, state: NetworkState) -> None:
        """Program the tunnel of a network whose bridge exists; other nodes' part of the state."""
        network = state.network
        bridge, vxlan = bridge_name(network), vxlan_name(network.id)
        try:
            kind = self._tunnelled(state) if network.encrypted else self._in_the_clear(state)
        except TunnelError as error:
            _LOG.error("network %s reaches no other node: %s", network.name, error)
            kind = None
        if kind is None:
            self._overlay.remove(bridge, vxlan)
            return
        mtu = network_mtu(network, self._uplink_mtu)
        self._overlay.program(bridge, vxlan, kind, mtu, remotes(state, self._node_id))

    def seal(self, state: NetworkState) -> None:
        """Make sure that packets of an encrypted network can leave the node, or none will.

        Raises:
            TunnelError: If this node cannot encrypt.
        """
        self.tunnel.join(state.network.id, state.nodes)
        self.tunnel.ensure()

    def _tunnelled(self, state: NetworkState) -> VxlanKind | None:
        self.seal(state)
        return self.tunnel.vxlan(state.network.vni) if len(state.nodes) > 1 else None

    def _in_the_clear(self, state: NetworkState) -> VxlanKind | None:
        if not state.network.vni or len(state.nodes) < 2:
            return None
        nodes = [ipaddress.ip_address(node.address) for node in state.nodes if node.address]
        self._firewall.add(tunnel_element(node) for node in nodes)
        return VxlanKind(state.network.vni, self._address, VXLAN_PORT)

    def has_bridge(self, name: str) -> bool:
        """Say whether the bridge was made by us."""
        return name in self._bridges.names()

    def remove_network(self, network_id: str, bridge: str) -> None:
        """Remove a network's bridge and tunnel."""
        self._overlay.remove(bridge, vxlan_name(network_id))
        self._bridges.remove(bridge)
        try:
            self.tunnel.leave(network_id)
        except TunnelError as error:
            _LOG.warning("the tunnels of the other networks: %s", error)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove bridges and tunnels of ours, but for these bridges."""
        self._bridges.sweep(keep)
        self.tunnel.sweep()

    def _own_address(self) -> Address:
        for route in self._route.routes():
            if route.destination is None and route.gateway is not None:
                for _, address in self._route.addresses(route.interface):
                    if address.version == route.gateway.version:
                        return address.ip
        return ipaddress.IPv4Address("127.0.0.1")

    def _find_uplink_mtu(self) -> int:
        links = {link.index: link for link in self._route.links()}
        for index, address in self._route.addresses():
            if address.ip == self._address and not address.ip.is_loopback:
                return min(links[index].mtu, _STANDARD_MTU)
        return _STANDARD_MTU


def port_addresses(record: SandboxRecord) -> dict[int, Address]:
    """Return the addresses that published ports lead to, by IP version."""
    chosen = gateway_endpoint(record.wired)
    if chosen is None:
        return {}
    parsed = [ipaddress.ip_interface(text).ip for text in chosen.addresses]
    return {address.version: address for address in parsed}
