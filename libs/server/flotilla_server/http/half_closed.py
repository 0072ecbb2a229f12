"""Notices that a client which has closed its side is gone for good.

After a FIN the event loop no longer reads, so it hears of nothing. A client that lives on is left
in peace: this asks the socket, and keep-alive probes make a dead peer's kernel answer.
"""

from __future__ import annotations

import asyncio
import select
import socket

_INTERVAL_S = 1.0
_IDLE_S = 30
_IDLE_HALF_CLOSED_S = 5
_PROBES = 6


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Probe idle clients over TCP."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family == socket.AF_UNIX:
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE_HALF_CLOSED_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)


class HalfClosedWatch:
    """Aborts a transport once its half-closed client is gone in both directions."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Watch from now on."""
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            if self._socket.family != socket.AF_UNIX:
                self._socket.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_HALF_CLOSED_S
                )
            self._look()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLHUP)
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0)):
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL_S, self._look)
