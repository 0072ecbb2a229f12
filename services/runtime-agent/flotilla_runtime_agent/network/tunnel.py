"""This node's end of the encrypted tunnels: there while a container is in an encrypted network.

Packets of an encrypted network are VXLAN in UDP port 4788, between addresses that exist in the
tunnels only. The VXLAN link is bound to the WireGuard interface and goes with it; the firewall
drops the port wherever else it is seen (``firewall.py``).
"""

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flotilla_engine.records import NetworkNode, TunnelEnd
from flotilla_runtime_agent.network.firewall import SEALED_PORT, TUNNEL_PREFIX
from flotilla_runtime_agent.network.netlink.links import VxlanKind
from flotilla_runtime_agent.network.netlink.route import RouteSocket
from flotilla_runtime_agent.network.specs import WIREGUARD_OVERHEAD
from flotilla_runtime_agent.network.wireguard import Peer, TunnelError, WireGuard, private_key

_HAS_IPV6 = Path("/proc/net/if_inet6")


@dataclass(frozen=True)
class TunnelSettings:
    """How the tunnels are to be.

    Attributes:
        port: UDP port of WireGuard; 0: this node does not encrypt.
        subnet: The /64 of the tunnels' addresses; the same on all nodes.
        program: wireguard-go, for kernels without WireGuard.
    """

    port: int = 51878
    subnet: str = "fd5c:8a3e:41d7:77e1::/64"
    program: Path = Path("/usr/bin/wireguard-go")


def tunnel_address(subnet: str, node_id: str) -> ipaddress.IPv6Interface:
    """Return a node's address in the tunnels, which follows from its id."""
    network = ipaddress.IPv6Network(subnet)
    host = int.from_bytes(hashlib.sha256(node_id.encode()).digest()[:8])
    host &= (1 << (128 - network.prefixlen)) - 1
    return ipaddress.IPv6Interface((int(network.network_address) | host, network.prefixlen))


class Tunnel:
    """One WireGuard interface for all encrypted networks of the node; for one thread at a time."""

    def __init__(
        self,
        route: RouteSocket,
        settings: TunnelSettings,
        *,
        node_id: str,
        folder: Path,
        run_folder: Path,
        uplink_mtu: int,
    ) -> None:
        """Look whether this node can encrypt; the key is made at the first time."""
        self._settings = settings
        self._node_id = node_id
        self._mtu = uplink_mtu - WIREGUARD_OVERHEAD
        self._address = tunnel_address(settings.subnet, node_id)
        key_path = folder / "wireguard.key"
        self._device = WireGuard(
            route,
            f"{TUNNEL_PREFIX}{node_id[:12]}",
            program=settings.program,
            key_path=key_path,
            run_folder=run_folder,
        )
        self._networks: dict[str, dict[str, Peer]] = {}
        self._configured: dict[str, Peer] | None = None
        self._was_lost = False  # and is there again; its VXLAN links are not
        self.end: TunnelEnd | None = None
        self.description = self._look(key_path)

    def _look(self, key_path: Path) -> str:
        try:
            if not self._settings.port:
                raise TunnelError("switched off")
            if not _HAS_IPV6.exists():
                raise TunnelError("the kernel has no IPv6")
            key = private_key(key_path)
            method = self._device.method()
        except TunnelError as error:
            return str(error)
        self.end = TunnelEnd(
            public_key=key, address=str(self._address.ip), port=self._settings.port
        )
        return method

    def join(self, network_id: str, nodes: Iterable[NetworkNode]) -> None:
        """Take part in a network with these nodes, from the next ``ensure`` on."""
        self._networks.pop(network_id, None)  # the newest word on a node is the last one
        self._networks[network_id] = {
            node.id: Peer(
                public_key=node.tunnel.public_key,
                endpoint=ipaddress.ip_address(node.address),
                port=node.tunnel.port,
                address=ipaddress.ip_address(node.tunnel.address),
            )
            for node in nodes
            if node.tunnel is not None and node.address and node.id != self._node_id
        }

    def leave(self, network_id: str) -> None:
        """Take no part in a network any more; the interface goes with the last one."""
        if self._networks.pop(network_id, None) is None:
            return
        if self._networks:
            self.ensure()
        else:
            self.sweep()

    def ensure(self) -> int:
        """Have the interface, with the peers of all networks; returns its index.

        Raises:
            TunnelError: If this node cannot encrypt (now).
        """
        if self.end is None:
            raise TunnelError(f"this node cannot encrypt: {self.description}")
        peers: dict[str, Peer] = {}
        for network in self._networks.values():
            peers |= network
        link = self._device.find()
        if link is None and self._configured is not None:
            self._was_lost = True
        if link is None or self._configured != peers:
            self._configured = None
            link = self._device.make(self._address, self._mtu)
            self._device.configure(self.end.public_key, self._settings.port, peers.values())
            self._configured = peers
        return link.index

    def vxlan(self, vni: int) -> VxlanKind:
        """Return the VXLAN link of a network in the tunnels. Raises: TunnelError."""
        return VxlanKind(vni, self._address.ip, SEALED_PORT, self.ensure())

    def is_broken(self) -> bool:
        """Say whether the interface has gone, and the VXLAN links of the networks with it."""
        if not self._networks or self.end is None:
            return False
        was_lost, self._was_lost = self._was_lost, False
        return was_lost or self._device.find() is None

    def sweep(self) -> None:
        """Take the interface away unless a network needs it."""
        if not self._networks or self.end is None:
            self._configured = None
            self._device.remove()
