"""Bridges of this node and the veth pairs that plug containers into them.

Everything here blocks briefly and belongs to the one thread that changes the host's network.
"""

import hashlib
import ipaddress
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from flotilla_runtime_agent.network.firewall import Firewall, bridge_elements
from flotilla_runtime_agent.network.namespaces import write_sysctl
from flotilla_runtime_agent.network.netlink.links import (
    BridgeKind,
    MacvlanKind,
    VethKind,
    VlanKind,
)
from flotilla_runtime_agent.network.netlink.nftables import Element
from flotilla_runtime_agent.network.netlink.route import Address, Interface, RouteSocket
from flotilla_runtime_agent.network.netlink.sockets import inside


@dataclass(frozen=True)
class BridgeSpec:
    """How a bridge is to be; addresses are the gateways with their prefix."""

    name: str
    addresses: tuple[Interface, ...]
    mtu: int = 0
    internal: bool = False
    masquerade: bool = True
    inter_container: bool = True

    def elements(self) -> list[Element]:
        """Return what the firewall must hold for this bridge."""
        return bridge_elements(
            self.name,
            [address.network for address in self.addresses],
            internal=self.internal,
            masquerade=self.masquerade,
        )


@dataclass(frozen=True)
class Plug:
    """An interface for a container."""

    interface: str  # its name in the container
    host_interface: str
    mac_address: str
    addresses: tuple[Interface, ...]
    mtu: int = 0
    isolated: bool = False
    sysctls: dict[str, str] = field(default_factory=dict)


def host_interface_name(sandbox_id: str, network_id: str) -> str:
    """Return the name of the host's end of a veth pair: the same each time."""
    digest = hashlib.sha256(f"{sandbox_id} {network_id}".encode()).hexdigest()
    return f"fv{digest[:12]}"


def mac_for(address: Address) -> str:
    """Return dockerd's MAC address for an IPv4 address: 02:42 and its four bytes."""
    return "02:42:" + address.packed[-4:].hex(":")


class Bridges:
    """Makes bridges and plugs containers into them."""

    def __init__(self, route: RouteSocket, firewall: Firewall, notes: Path) -> None:
        """Use these sockets, which the caller closes; note each bridge in a folder.

        Another agent in this network namespace has bridges with names like ours.
        """
        notes.mkdir(parents=True, exist_ok=True)
        self._notes = notes
        self._route = route
        self._firewall = firewall
        self._specs: dict[str, BridgeSpec] = {}

    def prepare(self, spec: BridgeSpec) -> None:
        """Have the bridge with exactly these addresses; the firewall is not touched."""
        (self._notes / spec.name).touch()
        self._route.add_link(spec.name, BridgeKind(), mtu=spec.mtu, mac_address=_mac_of(spec))
        link = self._route.link(spec.name)
        if not link.up or (spec.mtu and link.mtu != spec.mtu):
            self._route.change_link(link.index, up=True, mtu=spec.mtu)
        if any(address.version == 6 for address in spec.addresses):
            write_sysctl("net/ipv6/conf/all/forwarding", "1")
            write_sysctl(f"net/ipv6/conf/{spec.name}/disable_ipv6", "0")
            write_sysctl(f"net/ipv6/conf/{spec.name}/accept_dad", "0")
        else:
            write_sysctl(f"net/ipv6/conf/{spec.name}/disable_ipv6", "1")
        write_sysctl(f"net/ipv4/conf/{spec.name}/route_localnet", "1")
        self._set_addresses(link.index, spec)
        self._specs[spec.name] = spec

    def ensure(self, spec: BridgeSpec) -> None:
        """Have the bridge, and its elements in the firewall."""
        known = self._specs.get(spec.name)
        if known == spec and _exists(spec.name):
            return
        self.prepare(spec)
        if known is not None:
            self._firewall.remove(set(known.elements()) - set(spec.elements()))
        self._firewall.add(spec.elements())

    def remove(self, name: str) -> None:
        """Remove the bridge and its elements; safe to repeat."""
        spec = self._specs.pop(name, None)
        if spec is not None:
            self._firewall.remove(spec.elements())
        self._route.delete_link(name)
        (self._notes / name).unlink(missing_ok=True)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove bridges that were made once, but for these."""
        for note in self._notes.iterdir():
            if note.name not in keep:
                self._route.delete_link(note.name.replace("fl-", "fx-", 1))
                self.remove(note.name)

    def names(self) -> list[str]:
        """Return the bridges that were made."""
        return list(self._specs)

    def plug(self, bridge: str, plug: Plug, namespace_fd: int) -> None:
        """Join a namespace to a bridge; a left-over of the same name gives way."""
        kind = VethKind(
            plug.interface,
            namespace_fd,
            plug.mac_address,
            master=_index(bridge),
        )
        if not self._route.add_link(plug.host_interface, kind, mtu=plug.mtu):
            self._route.delete_link(plug.host_interface)
            self._route.add_link(plug.host_interface, kind, mtu=plug.mtu)
        index = _index(plug.host_interface)
        self._route.set_bridge_port(index, hairpin=True, isolated=plug.isolated)
        # Nothing may go to the port of a sandbox that had the address before and is dying.
        self._route.set_forwarding(index, plug.mac_address)
        configure(plug, namespace_fd)

    def plug_macvlan(self, parent: str, mode: str, plug: Plug, namespace_fd: int) -> None:
        """Give a namespace a macvlan interface of a host interface."""
        kind = MacvlanKind(mode, namespace_fd)
        index = self._parent(parent)
        # The kernel makes no link, wherever, whose name the host has: an uplink is often eth0, too.
        made = f"fm{secrets.token_hex(6)}"
        self._route.add_link(made, kind, mtu=plug.mtu, mac_address=plug.mac_address, parent=index)
        with RouteSocket(namespace_fd) as route:
            route.change_link(route.link(made).index, name=plug.interface)
        configure(plug, namespace_fd)

    def _parent(self, name: str) -> int:
        """Return the index of a macvlan's parent; ``eth0.7`` is made if only eth0 is there."""
        base, _, vlan = name.rpartition(".")
        if self._route.find_link(name) is None and base and vlan.isdigit():
            self._route.add_link(name, VlanKind(int(vlan)), parent=self._route.link(base).index)
        return self._route.link(name).index

    def unplug(self, host_interface: str) -> None:
        """Delete a veth pair by the host's end; safe to repeat."""
        self._route.delete_link(host_interface)

    def _set_addresses(self, index: int, spec: BridgeSpec) -> None:
        present = {address for _, address in self._route.addresses(index)}
        for address in present.difference(spec.addresses):
            if not address.ip.is_link_local:
                self._route.delete_address(index, address)
        for address in spec.addresses:
            if address not in present:
                self._route.add_address(index, address)


def configure(plug: Plug, namespace_fd: int) -> None:
    """Set sysctls and addresses of a container's interface, and bring it up."""
    has_ipv6 = any(address.version == 6 for address in plug.addresses)
    with inside(namespace_fd):
        if has_ipv6:  # namespaces begin without
            write_sysctl(f"net/ipv6/conf/{plug.interface}/disable_ipv6", "0")
        for name, value in plug.sysctls.items():
            write_sysctl(name, value)
        with RouteSocket() as route:
            index = _index(plug.interface)
            for address in plug.addresses:
                route.add_address(index, address)
            route.change_link(index, up=True)


def set_default_routes(gateways: dict[int, tuple[str, Address] | None], namespace_fd: int) -> None:
    """Set the default route of each IP version, by interface and gateway; None takes it away."""
    with inside(namespace_fd), RouteSocket() as route:
        for version, way in gateways.items():
            if way is None:
                route.delete_route(None, version=version)
            else:
                interface, gateway = way
                route.add_route(None, gateway=gateway, interface=_index(interface), version=version)


def remove_interface(name: str, namespace_fd: int) -> None:
    """Delete an interface of a namespace; its peer on the host goes with it."""
    with RouteSocket(namespace_fd) as route:
        route.delete_link(name)


def host_networks(route: RouteSocket) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return what the host's routes and addresses cover, but for the default route."""
    found = [entry.destination for entry in route.routes() if entry.destination is not None]
    return found + [address.network for _, address in route.addresses()]


def _index(name: str) -> int:
    """Return an interface's index in this thread's namespace, without the kernel's big lock."""
    return socket.if_nametoindex(name)


def _exists(name: str) -> bool:
    try:
        return bool(_index(name))
    except OSError:
        return False


def _mac_of(spec: BridgeSpec) -> str:
    for address in spec.addresses:
        if address.version == 4:
            return mac_for(address.ip)
    digest = hashlib.sha256(spec.name.encode()).hexdigest()
    return "02:42:" + bytes.fromhex(digest[:8]).hex(":")
