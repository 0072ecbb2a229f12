"""nf_tables: elements of sets and maps by raw nfnetlink; rules are text (``rules``).

One element costs microseconds, however many there are. Source:
``include/uapi/linux/netfilter/nf_tables.h``, ``nfnetlink.h``.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from flotilla_runtime_agent.network.netlink import messages as nl
from flotilla_runtime_agent.network.netlink.sockets import (
    NETLINK_NETFILTER,
    NetlinkError,
    NetlinkSocket,
)

_NFNL_SUBSYS_NFTABLES = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_GETCHAIN = _NFNL_SUBSYS_NFTABLES << 8 | 4
_GETRULE = _NFNL_SUBSYS_NFTABLES << 8 | 7
_NEWSETELEM = _NFNL_SUBSYS_NFTABLES << 8 | 12
_DELSETELEM = _NFNL_SUBSYS_NFTABLES << 8 | 14
_GETGEN = _NFNL_SUBSYS_NFTABLES << 8 | 16
_GEN_ID = 1
_CHAIN_HOOK, _CHAIN_POLICY, _HOOK_NUMBER = 4, 5, 1
_POLICY_DROP, _HOOK_FORWARD = bytes(4), b"\0\0\0\2"
_NFPROTO_INET = 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM, _ELEM_KEY, _ELEM_DATA, _ELEM_KEY_END, _DATA_VALUE = 1, 1, 2, 10, 1
_RULE_TABLE = 1
_ELEMENTS_PER_MESSAGE = 200


class Protocol(IntEnum):
    """A transport protocol in a key."""

    TCP = socket.IPPROTO_TCP
    UDP = socket.IPPROTO_UDP
    SCTP = socket.IPPROTO_SCTP


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# An interface name, a protocol, a port, an address, or (in interval sets) a network.
Value = str | Protocol | int | Address | Network


@dataclass(frozen=True)
class Element:
    """An element of a set, or of a map when it has data."""

    set_name: str
    key: tuple[Value, ...]
    data: tuple[Value, ...] = ()

    def text(self) -> str:
        """Return the element in nft's syntax."""
        key = " . ".join(_text(value) for value in self.key)
        return f"{key} : {' . '.join(_text(value) for value in self.data)}" if self.data else key

    def message(self, *, with_data: bool = True) -> bytes:
        """Return the element as a netlink attribute."""
        parts = [_value(_ELEM_KEY, b"".join(_first(value) for value in self.key))]
        if any(isinstance(value, _NETWORKS) for value in self.key):
            parts.append(_value(_ELEM_KEY_END, b"".join(_last(value) for value in self.key)))
        if self.data and with_data:
            parts.append(_value(_ELEM_DATA, b"".join(_first(value) for value in self.data)))
        return nl.nested(_LIST_ELEM, *parts)


_NETWORKS = (ipaddress.IPv4Network, ipaddress.IPv6Network)


class ElementSocket:
    """Adds elements to and takes them from the sets of one ``inet`` table."""

    def __init__(self, table: str) -> None:
        """Open the socket in this thread's network namespace."""
        self._table = table
        self._socket = NetlinkSocket(NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def add(self, elements: Iterable[Element]) -> None:
        """Add elements, all or none; those that are there already are no error.

        Raises:
            NetlinkError: EEXIST if a map has the key with other data.
        """
        self._change(_NEWSETELEM, elements, nl.NLM_F_CREATE)

    def remove(self, elements: Iterable[Element]) -> None:
        """Remove elements; those that are gone are no error."""
        wanted = list(elements)
        try:
            self._change(_DELSETELEM, wanted, 0)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            if len(wanted) > 1:
                for element in wanted:
                    self.remove([element])

    def generation(self) -> int:
        """Return a number that grows with every change of any table of the namespace."""
        (answer,) = self._socket.ask(_GETGEN, _header(0))
        return int.from_bytes(nl.attributes(answer, 4)[_GEN_ID], "big")

    def has_dropping_forward_chain(self) -> bool:
        """Say whether any table drops what its forward chain does not accept."""
        header = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0)
        for answer in self._socket.ask(_GETCHAIN, header, dump=True):
            parts = nl.attributes(answer, 4)
            hook = nl.attributes(parts.get(_CHAIN_HOOK, b"")).get(_HOOK_NUMBER, b"")
            if parts.get(_CHAIN_POLICY) == _POLICY_DROP and hook == _HOOK_FORWARD:
                return True
        return False

    def count_rules(self) -> int:
        """Return how many rules the table has; 0 if there is no such table."""
        payload = _header(0) + nl.text(_RULE_TABLE, self._table)
        try:
            return len(self._socket.ask(_GETRULE, payload, dump=True))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return 0
            raise

    def _change(self, kind: int, elements: Iterable[Element], flags: int) -> None:
        by_set: dict[str, list[Element]] = {}
        for element in elements:
            by_set.setdefault(element.set_name, []).append(element)
        frames = []
        for name, members in by_set.items():
            for start in range(0, len(members), _ELEMENTS_PER_MESSAGE):
                part = members[start : start + _ELEMENTS_PER_MESSAGE]
                frames.append((kind, flags, self._list(name, part, kind == _NEWSETELEM)))
        if frames:
            begin, end = _delimiter(_BATCH_BEGIN), _delimiter(_BATCH_END)
            self._socket.send_batch(frames, first=begin, last=end)

    def _list(self, name: str, elements: list[Element], with_data: bool) -> bytes:
        return (
            _header(0)
            + nl.text(_LIST_TABLE, self._table)
            + nl.text(_LIST_SET, name)
            + nl.nested(
                _LIST_ELEMENTS, *(element.message(with_data=with_data) for element in elements)
            )
        )


def _header(resource: int) -> bytes:
    return struct.pack("!BBH", _NFPROTO_INET, 0, resource)


def _delimiter(kind: int) -> bytes:
    header = struct.pack("!BBH", 0, 0, _NFNL_SUBSYS_NFTABLES)
    return nl.message(kind, nl.NLM_F_REQUEST, 0, header)


def _value(kind: int, payload: bytes) -> bytes:
    return nl.nested(kind, nl.attribute(_DATA_VALUE, payload))


def _first(value: Value) -> bytes:
    """Return a value as the kernel keeps it in a concatenation: padded to four bytes."""
    if isinstance(value, str):
        return value.encode().ljust(16, b"\0")
    if isinstance(value, Protocol):
        return bytes((value, 0, 0, 0))
    if isinstance(value, int):
        return struct.pack("!HH", value, 0)
    if isinstance(value, _NETWORKS):
        return value.network_address.packed
    return value.packed


def _last(value: Value) -> bytes:
    return value.broadcast_address.packed if isinstance(value, _NETWORKS) else _first(value)


def _text(value: Value) -> str:
    if isinstance(value, Protocol):
        return value.name.lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
