"""Asking other DNS servers, from the host's namespace or a container's."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence

from flotilla_runtime_agent.network.dns.wire import (
    Query,
    Rcode,
    empty_answer,
    id_of,
    rcode_of,
    with_id,
)

_TIMEOUT_S = 4  # as dockerd's
_SERVERS = 3
_PORT = 53

SocketMaker = Callable[[int, int], socket.socket]  # family, kind


async def forward(
    query: Query, servers: Sequence[str], *, tcp: bool, make_socket: SocketMaker
) -> bytes:
    """Return the first useful answer of the servers, asked in turn; SERVFAIL if there is none."""
    last = empty_answer(query, Rcode.SERVFAIL)
    for server in servers[:_SERVERS]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                answer = await _ask(query, server, tcp, make_socket)
        except (OSError, TimeoutError, ValueError):
            continue
        if rcode_of(answer) not in (Rcode.SERVFAIL, Rcode.REFUSED):
            return answer
        last = answer
    return last


async def _ask(query: Query, server: str, tcp: bool, make_socket: SocketMaker) -> bytes:
    loop = asyncio.get_running_loop()
    host, port = _host_and_port(server)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    number = int.from_bytes(os.urandom(2), "big")
    message = with_id(query.data, number)
    asking = make_socket(family, kind)
    try:
        await loop.sock_connect(asking, (host, port))
        if tcp:
            await loop.sock_sendall(asking, struct.pack("!H", len(message)) + message)
            (size,) = struct.unpack("!H", await _exactly(asking, 2))
            answer = await _exactly(asking, size)
        else:
            await loop.sock_sendall(asking, message)
            answer = await loop.sock_recv(asking, 65535)
            while len(answer) < 12 or id_of(answer) != number:
                answer = await loop.sock_recv(asking, 65535)
    finally:
        asking.close()
    if len(answer) < 12:
        raise ValueError("short answer")
    return with_id(answer, id_of(query.data))


async def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(connection, size - len(data))
        if not more:
            raise ConnectionResetError("the DNS server closed the connection")
        data += more
    return data


def _host_and_port(server: str) -> tuple[str, int]:
    return server.split("%")[0], _PORT
