"""rtnetlink: links, addresses, routes, neighbours and forwarding entries.

Source: ``include/uapi/linux/if_link.h``, ``if_addr.h``, ``rtnetlink.h``, ``neighbour.h``.
"""

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from flotilla_runtime_agent.network.netlink import messages as nl
from flotilla_runtime_agent.network.netlink.links import (
    IFF_UP,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    LinkKind,
    link_header,
    mac_bytes,
)
from flotilla_runtime_agent.network.netlink.sockets import (
    NETLINK_ROUTE,
    NetlinkError,
    NetlinkSocket,
)

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER = 1, 3, 4, 10
IFLA_PROTINFO, IFLA_NET_NS_FD = 12, 28
IFLA_BRPORT_MODE, IFLA_BRPORT_LEARNING = 4, 8
IFLA_BRPORT_NEIGH_SUPPRESS, IFLA_BRPORT_ISOLATED = 32, 33
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD = 0x02
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT, NUD_NOARP = 0x80, 0x40
NTF_SELF, NTF_MASTER = 0x02, 0x04
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST = 254, 3, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253


@dataclass(frozen=True)
class Link:
    """An interface as the kernel lists it."""

    index: int
    name: str
    mtu: int
    mac_address: str
    up: bool
    master: int


@dataclass(frozen=True)
class Route:
    """A route of the main table; ``destination`` is None for the default route."""

    destination: Network | None
    interface: int
    gateway: Address | None


@dataclass(frozen=True)
class Neighbour:
    """A neighbour or forwarding entry; ``destination`` is an address, or None with bridges."""

    interface: int
    mac_address: str
    destination: Address | None
    state: int
    master: bool


def _family(address: Address | Interface | Network) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class RouteSocket:
    """rtnetlink requests in one network namespace; for one thread at a time.

    Creating what exists and deleting what is gone is no error anywhere here.
    """

    def __init__(self, namespace_fd: int | None = None) -> None:
        """Open the socket, in the namespace of a descriptor if one is given."""
        self._socket = NetlinkSocket(NETLINK_ROUTE, namespace_fd)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        """Return the socket itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the socket."""
        self.close()

    # Links

    def add_link(
        self, name: str, kind: LinkKind, *, mtu: int = 0, mac_address: str = "", parent: int = 0
    ) -> bool:
        """Create a link; answers whether it is new."""
        payload = kind.request(name, mtu=mtu, mac_address=mac_address, parent=parent)
        return self._create(RTM_NEWLINK, payload)

    def links(self) -> list[Link]:
        """Return all links."""
        answers = self._socket.ask(RTM_GETLINK, link_header(), dump=True)
        return [_link(answer) for answer in answers]

    def find_link(self, name: str) -> Link | None:
        """Return the link of that name, if there is one."""
        payload = link_header() + nl.text(IFLA_IFNAME, name)
        try:
            answers = self._socket.ask(RTM_GETLINK, payload)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return _link(answers[0])

    def link(self, name: str) -> Link:
        """Return the link of that name.

        Raises:
            NetlinkError: ENODEV if there is none.
        """
        found = self.find_link(name)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"no interface {name}")
        return found

    def delete_link(self, name: str) -> None:
        """Delete a link by name."""
        self._delete(RTM_DELLINK, link_header() + nl.text(IFLA_IFNAME, name))

    def change_link(
        self,
        index: int,
        *,
        up: bool | None = None,
        master: int | None = None,
        name: str = "",
        mtu: int = 0,
        mac_address: str = "",
        namespace_fd: int | None = None,
    ) -> None:
        """Change what is given of a link; a new name needs the link down."""
        parts = []
        if name:
            parts.append(nl.text(IFLA_IFNAME, name))
        if mtu:
            parts.append(nl.u32(IFLA_MTU, mtu))
        if mac_address:
            parts.append(nl.attribute(IFLA_ADDRESS, mac_bytes(mac_address)))
        if master is not None:
            parts.append(nl.u32(IFLA_MASTER, master))
        if namespace_fd is not None:
            parts.append(nl.u32(IFLA_NET_NS_FD, namespace_fd))
        flags = IFF_UP if up else 0
        header = link_header(index, flags=flags, change=0 if up is None else IFF_UP)
        self._socket.request(RTM_NEWLINK, header + b"".join(parts))

    def set_bridge_port(
        self,
        index: int,
        *,
        hairpin: bool = False,
        isolated: bool = False,
        learning: bool = True,
        suppress_neighbours: bool = False,
    ) -> None:
        """Set how a bridge treats a port of it."""
        settings = nl.nested(
            IFLA_PROTINFO,
            nl.u8(IFLA_BRPORT_MODE, hairpin),
            nl.u8(IFLA_BRPORT_ISOLATED, isolated),
            nl.u8(IFLA_BRPORT_LEARNING, learning),
            nl.u8(IFLA_BRPORT_NEIGH_SUPPRESS, suppress_neighbours),
        )
        header = link_header(index, family=socket.AF_BRIDGE)
        self._socket.request(RTM_SETLINK, header + settings)

    # Addresses

    def add_address(self, index: int, address: Interface) -> None:
        """Give a link an address; IPv6 ones without duplicate detection."""
        header = struct.pack(
            "=BBBBI", _family(address), address.network.prefixlen, IFA_F_NODAD, 0, index
        )
        packed = address.ip.packed
        payload = header + nl.attribute(IFA_LOCAL, packed) + nl.attribute(IFA_ADDRESS, packed)
        if address.version == 4 and address.network.prefixlen < 31:
            broadcast = address.network.broadcast_address.packed
            payload += nl.attribute(IFA_BROADCAST, broadcast)
        self._create(RTM_NEWADDR, payload + nl.u32(IFA_FLAGS, IFA_F_NODAD))

    def delete_address(self, index: int, address: Interface) -> None:
        """Take an address from a link."""
        header = struct.pack("=BBBBI", _family(address), address.network.prefixlen, 0, 0, index)
        self._delete(RTM_DELADDR, header + nl.attribute(IFA_LOCAL, address.ip.packed))

    def addresses(self, index: int | None = None) -> list[tuple[int, Interface]]:
        """Return (link index, address) of all addresses, or of one link's."""
        found = []
        for answer in self._socket.ask(RTM_GETADDR, bytes(8), dump=True):
            _, prefix, _flags, _scope, link = struct.unpack_from("=BBBBI", answer)
            parts = nl.attributes(answer, 8)
            packed = parts.get(IFA_LOCAL) or parts.get(IFA_ADDRESS)
            if packed and index in (None, link):
                address = ipaddress.ip_address(packed)
                found.append((link, ipaddress.ip_interface(f"{address}/{prefix}")))
        return found

    # Routes

    def add_route(
        self,
        destination: Network | None,
        *,
        gateway: Address | None = None,
        interface: int = 0,
        version: int = 4,
        metric: int = 0,
    ) -> None:
        """Add a route, or replace the one to the same destination; None is the default route."""
        payload = _route(destination, gateway, interface, version, metric)
        self._socket.request(RTM_NEWROUTE, payload, flags=nl.NLM_F_CREATE | nl.NLM_F_REPLACE)

    def delete_route(
        self,
        destination: Network | None,
        *,
        gateway: Address | None = None,
        interface: int = 0,
        version: int = 4,
    ) -> None:
        """Delete a route."""
        self._delete(RTM_DELROUTE, _route(destination, gateway, interface, version, 0))

    def routes(self) -> list[Route]:
        """Return the unicast routes of the main table, both families."""
        found = []
        for answer in self._socket.ask(RTM_GETROUTE, bytes(12), dump=True):
            family, prefix, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", answer)
            if kind != RTN_UNICAST or table != RT_TABLE_MAIN:
                continue
            parts = nl.attributes(answer, 12)
            target = parts.get(RTA_DST, bytes(4 if family == socket.AF_INET else 16))
            destination = ipaddress.ip_network((target, prefix)) if prefix else None
            (interface,) = struct.unpack("=I", parts.get(RTA_OIF, bytes(4)))
            gateway = parts.get(RTA_GATEWAY)
            found.append(
                Route(destination, interface, ipaddress.ip_address(gateway) if gateway else None)
            )
        return found

    # Neighbours and forwarding entries

    def set_neighbour(self, index: int, address: Address, mac_address: str) -> None:
        """Set a permanent ARP or ND entry."""
        header = struct.pack("=BBHiHBB", _family(address), 0, 0, index, NUD_PERMANENT, 0, 0)
        payload = header + nl.attribute(NDA_DST, address.packed)
        payload += nl.attribute(NDA_LLADDR, mac_bytes(mac_address))
        self._socket.request(RTM_NEWNEIGH, payload, flags=nl.NLM_F_CREATE | nl.NLM_F_REPLACE)

    def delete_neighbour(self, index: int, address: Address) -> None:
        """Delete an ARP or ND entry."""
        header = struct.pack("=BBHiHBB", _family(address), 0, 0, index, 0, 0, 0)
        self._delete(RTM_DELNEIGH, header + nl.attribute(NDA_DST, address.packed))

    def set_forwarding(
        self, index: int, mac_address: str, *, remote: Address | None = None
    ) -> None:
        """Set a static entry: of a VXLAN link with ``remote``, else of the port's bridge."""
        header, payload = _forwarding(index, mac_address, remote)
        self._socket.request(
            RTM_NEWNEIGH, header + payload, flags=nl.NLM_F_CREATE | nl.NLM_F_REPLACE
        )

    def delete_forwarding(
        self, index: int, mac_address: str, *, remote: Address | None = None
    ) -> None:
        """Delete a static forwarding entry."""
        header, payload = _forwarding(index, mac_address, remote)
        self._delete(RTM_DELNEIGH, header + payload)

    def forwarding(self, index: int) -> list[Neighbour]:
        """Return the forwarding entries whose port is this link (its own and its bridge's)."""
        header = struct.pack("=BBHiHBB", socket.AF_BRIDGE, 0, 0, index, 0, 0, 0)
        return self._neighbours(header, index)

    def neighbours(self, index: int) -> list[Neighbour]:
        """Return the permanent ARP and ND entries of a link."""
        header = struct.pack("=BBHiHBB", socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0)
        found = self._neighbours(header, index)
        return [neighbour for neighbour in found if neighbour.state & NUD_PERMANENT]

    def _neighbours(self, header: bytes, index: int) -> list[Neighbour]:
        found = []
        for answer in self._socket.ask(RTM_GETNEIGH, header, dump=True):
            _f, _, _, interface, state, flags, _type = struct.unpack_from("=BBHiHBB", answer)
            parts = nl.attributes(answer, 12)
            mac, target = parts.get(NDA_LLADDR), parts.get(NDA_DST)
            if interface != index or mac is None:
                continue
            address = ipaddress.ip_address(target) if target else None
            found.append(
                Neighbour(interface, mac.hex(":"), address, state, bool(flags & NTF_MASTER))
            )
        return found

    def _create(self, kind: int, payload: bytes) -> bool:
        try:
            self._socket.request(kind, payload, flags=nl.NLM_F_CREATE | nl.NLM_F_EXCL)
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        return True

    def _delete(self, kind: int, payload: bytes) -> None:
        try:
            self._socket.request(kind, payload)
        except NetlinkError as error:
            if error.errno not in _GONE:
                raise


_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)


def _link(answer: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", answer)
    parts = nl.attributes(answer, 16)
    (mtu,) = struct.unpack("=I", parts.get(IFLA_MTU, bytes(4)))
    (master,) = struct.unpack("=I", parts.get(IFLA_MASTER, bytes(4)))
    name = nl.string_of(parts[IFLA_IFNAME])
    mac = parts.get(IFLA_ADDRESS, b"").hex(":") if parts.get(IFLA_ADDRESS) else ""
    return Link(index, name, mtu, mac, bool(flags & IFF_UP), master)


def _route(
    destination: Network | None, gateway: Address | None, interface: int, version: int, metric: int
) -> bytes:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    prefix = destination.prefixlen if destination else 0
    scope = RT_SCOPE_UNIVERSE if gateway or version == 6 else RT_SCOPE_LINK
    header = struct.pack(
        "=BBBBBBBBI", family, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0
    )
    parts = [header]
    if destination:
        parts.append(nl.attribute(RTA_DST, destination.network_address.packed))
    if gateway:
        parts.append(nl.attribute(RTA_GATEWAY, gateway.packed))
    if interface:
        parts.append(nl.u32(RTA_OIF, interface))
    if metric:
        parts.append(nl.u32(RTA_PRIORITY, metric))
    return b"".join(parts)


def _forwarding(index: int, mac_address: str, remote: Address | None) -> tuple[bytes, bytes]:
    flags = NTF_SELF if remote else NTF_MASTER
    # A bridge's entry that does not age and is not the port's own address is "static".
    state = NUD_PERMANENT if remote else NUD_NOARP
    header = struct.pack("=BBHiHBB", socket.AF_BRIDGE, 0, 0, index, state, flags, 0)
    payload = nl.attribute(NDA_LLADDR, mac_bytes(mac_address))
    if remote:
        payload += nl.attribute(NDA_DST, remote.packed)
    return header, payload
