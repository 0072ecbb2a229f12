"""What our TCP connections ask of the kernel."""

from __future__ import annotations

import asyncio
import socket

GIVE_UP_S = 15


def bound_silence(transport: asyncio.BaseTransport) -> None:
    """Have the kernel drop the connection when what was sent is not acknowledged for long.

    A host that is cut off would otherwise hold a closing connection, and whoever waits for its
    end, for a quarter of an hour. Only for connections whose other end always reads.
    """
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVE_UP_S * 1000)
