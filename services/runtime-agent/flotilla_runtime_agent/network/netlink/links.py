"""Kinds of links, and the message that creates each.

Source: ``include/uapi/linux/if_link.h``, ``veth.h``.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Protocol

from flotilla_runtime_agent.network.netlink import messages as nl

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
IFF_UP = 0x1

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 4, 5, 10, 18, 28
_INFO_KIND, _INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_BR_FORWARD_DELAY, _BR_MCAST_SNOOPING = 1, 23
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING = 1, 3, 4, 7
_VXLAN_PORT, _VXLAN_LOCAL6 = 15, 17
_MACVLAN_MODE = 1
_VLAN_ID = 1
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}


def mac_bytes(mac_address: str) -> bytes:
    """Return the six bytes of ``02:42:ac:11:00:02``."""
    return bytes.fromhex(mac_address.replace(":", "").replace("-", ""))


def link_header(index: int = 0, *, flags: int = 0, change: int = 0, family: int = 0) -> bytes:
    """Return the fixed part of a link message (``struct ifinfomsg``)."""
    return struct.pack("=BxHiII", family, 0, index, flags, change)


class LinkKind(Protocol):
    """What can be asked to make the creating message of a link."""

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        ...


def _request(
    name: str, kind: str, data: bytes, *, mtu: int, mac_address: str, parent: int, up: bool = False
) -> bytes:
    flags = IFF_UP if up else 0
    parts = [link_header(flags=flags, change=flags), nl.text(_IFNAME, name)]
    if mtu:
        parts.append(nl.u32(_MTU, mtu))
    if mac_address:
        parts.append(nl.attribute(_ADDRESS, mac_bytes(mac_address)))
    if parent:
        parts.append(nl.u32(_LINK, parent))
    parts.append(nl.nested(_LINKINFO, nl.text(_INFO_KIND, kind), nl.nested(_INFO_DATA, data)))
    return b"".join(parts)


@dataclass(frozen=True)
class BridgeKind:
    """A bridge, up, that forwards at once."""

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        data = nl.u32(_BR_FORWARD_DELAY, 0) + nl.u8(_BR_MCAST_SNOOPING, 0)
        return _request(
            name, "bridge", data, mtu=mtu, mac_address=mac_address, parent=parent, up=True
        )


@dataclass(frozen=True)
class VethKind:
    """A pair: one end here, up and a port of ``master``; the peer in another namespace."""

    peer_name: str
    peer_namespace_fd: int | None = None
    peer_mac_address: str = ""
    master: int = 0

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        peer = [link_header(), nl.text(_IFNAME, self.peer_name)]
        if mtu:
            peer.append(nl.u32(_MTU, mtu))
        if self.peer_mac_address:
            peer.append(nl.attribute(_ADDRESS, mac_bytes(self.peer_mac_address)))
        if self.peer_namespace_fd is not None:
            peer.append(nl.u32(_NET_NS_FD, self.peer_namespace_fd))
        data = nl.nested(_VETH_INFO_PEER, *peer)
        payload = _request(
            name, "veth", data, mtu=mtu, mac_address=mac_address, parent=parent, up=True
        )
        return payload + (nl.u32(_MASTER, self.master) if self.master else b"")


@dataclass(frozen=True)
class VxlanKind:
    """A VXLAN end without learning and without a default destination.

    With ``link`` its packets leave by that interface only, and it goes when the interface does.
    """

    vni: int
    local: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int = 4789
    link: int = 0

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        local = _VXLAN_LOCAL if self.local.version == 4 else _VXLAN_LOCAL6
        data = (
            nl.u32(_VXLAN_ID, self.vni)
            + nl.attribute(local, self.local.packed)
            + nl.u8(_VXLAN_LEARNING, 0)
            + nl.be16(_VXLAN_PORT, self.port)
        )
        if self.link:
            data += nl.u32(_VXLAN_LINK, self.link)
        return _request(name, "vxlan", data, mtu=mtu, mac_address=mac_address, parent=parent)


@dataclass(frozen=True)
class MacvlanKind:
    """A macvlan sub-interface of ``parent``, made straight in another namespace if one is given."""

    mode: str = "bridge"
    namespace_fd: int | None = None

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        data = nl.u32(_MACVLAN_MODE, _MACVLAN_MODES[self.mode])
        payload = _request(name, "macvlan", data, mtu=mtu, mac_address=mac_address, parent=parent)
        if self.namespace_fd is not None:
            payload += nl.u32(_NET_NS_FD, self.namespace_fd)
        return payload


@dataclass(frozen=True)
class VlanKind:
    """An 802.1Q sub-interface of ``parent``."""

    vlan_id: int

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        return _request(
            name,
            "vlan",
            nl.u16(_VLAN_ID, self.vlan_id),
            mtu=mtu,
            mac_address=mac_address,
            parent=parent,
            up=True,
        )


@dataclass(frozen=True)
class WireGuardKind:
    """A WireGuard interface of the kernel's, without key and peers."""

    def request(self, name: str, *, mtu: int, mac_address: str, parent: int) -> bytes:
        """Return the payload of RTM_NEWLINK."""
        return _request(name, "wireguard", b"", mtu=mtu, mac_address=mac_address, parent=parent)
