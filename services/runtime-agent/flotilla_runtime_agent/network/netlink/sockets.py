"""Netlink sockets, in this network namespace or another one."""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from flotilla_runtime_agent.network.netlink import messages as nl

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
CLONE_NEWNET = 0x40000000
_RECEIVE_BYTES = 256 * 1024

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class NetlinkError(OSError):
    """The kernel refused a netlink request."""


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def set_namespace(namespace_fd: int) -> None:
    """Move the calling thread, and only it, into the network namespace of a descriptor."""
    _checked(_libc.setns(namespace_fd, CLONE_NEWNET), "setns")


def unshare_network() -> None:
    """Give the calling thread a new, empty network namespace."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")


@contextmanager
def inside(namespace_fd: int) -> Iterator[None]:
    """Run the block in another network namespace. Must not be held across an ``await``."""
    own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    home = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    try:
        set_namespace(namespace_fd)
        try:
            yield
        finally:
            set_namespace(home)
    finally:
        os.close(home)


def call_inside(namespace_fd: int, function: Callable[[], T]) -> T:
    """Return the function's result, called in another network namespace."""
    with inside(namespace_fd):
        return function()


class NetlinkSocket:
    """A request socket of one netlink family; not safe for use by two threads at once.

    Args:
        family: ``NETLINK_ROUTE`` or ``NETLINK_NETFILTER``.
        namespace_fd: The network namespace to open the socket in; this thread's when None.
    """

    def __init__(self, family: int, namespace_fd: int | None = None) -> None:
        """Open the socket."""
        if namespace_fd is None:
            self._socket = _opened(family)
        else:
            self._socket = call_inside(namespace_fd, lambda: _opened(family))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket; safe to repeat."""
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

    def request(self, kind: int, payload: bytes, *, flags: int = 0) -> None:
        """Send a message and wait for its acknowledgement.

        Raises:
            NetlinkError: With the kernel's error number.
        """
        self._send(kind, payload, flags | nl.NLM_F_ACK)
        for _ in self._answers():
            pass

    def ask(self, kind: int, payload: bytes, *, dump: bool = False) -> list[bytes]:
        """Send a query and return the payload of each answer."""
        self._send(kind, payload, nl.NLM_F_DUMP if dump else nl.NLM_F_ACK)
        return list(self._answers())

    def send_batch(
        self, frames: list[tuple[int, int, bytes]], *, first: bytes, last: bytes
    ) -> None:
        """Send (kind, flags, payload) messages in one datagram and wait for each acknowledgement.

        ``first`` and ``last`` are nfnetlink's batch delimiters, which are not acknowledged.

        Raises:
            NetlinkError: Of the first message that failed; the batch had no effect then.
        """
        datagram = bytearray(first)
        waiting: set[int] = set()
        for kind, flags, payload in frames:
            self._sequence += 1
            waiting.add(self._sequence)
            datagram += nl.message(
                kind, flags | nl.NLM_F_REQUEST | nl.NLM_F_ACK, self._sequence, payload
            )
        datagram += last
        self._socket.sendto(bytes(datagram), (0, 0))
        failure: NetlinkError | None = None
        while waiting:
            for kind, sequence, payload in nl.split_messages(self._socket.recv(_RECEIVE_BYTES)):
                if kind != nl.NLMSG_ERROR or (sequence not in waiting and sequence != 0):
                    continue
                waiting.discard(sequence)
                failure = failure or _failure(payload)
                if failure is not None and sequence == 0:
                    waiting.clear()
        if failure is not None:
            raise failure

    def _send(self, kind: int, payload: bytes, flags: int) -> None:
        self._sequence += 1
        frame = nl.message(kind, flags | nl.NLM_F_REQUEST, self._sequence, payload)
        self._socket.sendto(frame, (0, 0))

    def _answers(self) -> Iterator[bytes]:
        while True:
            for kind, sequence, payload in nl.split_messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if kind == nl.NLMSG_DONE:
                    return
                if kind == nl.NLMSG_ERROR:
                    failure = _failure(payload)
                    if failure is not None:
                        raise failure
                    return
                yield payload


def _failure(payload: bytes) -> NetlinkError | None:
    (number,) = struct.unpack_from("=i", payload)
    if number == 0:
        return None
    return NetlinkError(-number, os.strerror(-number))


def _opened(family: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
    try:
        opened.bind((0, 0))
    except OSError:
        opened.close()
        raise
    return opened
