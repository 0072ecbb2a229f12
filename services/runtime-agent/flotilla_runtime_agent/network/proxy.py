"""Userland forwarding for what the kernel cannot translate: IPv6 of the host to IPv4, and ::1.

Sockets that are given belong to the caller, who closes them after the proxy.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

Target = tuple[str, int]

_CHUNK = 256 * 1024
_CONNECT_TIMEOUT_S = 10
_UDP_IDLE_S = 90


class TcpProxy:
    """Accepts on a listening socket and copies both ways, with half-close."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        """Accept connections from now on."""
        self.on_idle: Callable[[], None] | None = None
        self._listener = listener
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        asyncio.get_running_loop().add_reader(listener, self._accept)

    @property
    def is_busy(self) -> bool:
        """Say whether there are connections."""
        return bool(self._tasks)

    def stop_accepting(self) -> None:
        """Accept no more; connections go on. Safe to repeat."""
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)

    def close(self) -> None:
        """Stop accepting and drop the connections that there are; safe to repeat."""
        self.stop_accepting()
        for writer in tuple(self._writers):
            writer.transport.abort()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks and self.on_idle is not None:
            self.on_idle()

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_CHUNK)
        self._writers.add(writer)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                inner_reader, inner_writer = await asyncio.open_connection(
                    *self._target, limit=_CHUNK
                )
            self._writers.add(inner_writer)
            try:
                await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
            finally:
                self._writers.discard(inner_writer)
                inner_writer.close()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()


class UdpProxy:
    """Forwards datagrams; answers go back to whoever asked, until a pause of 90 seconds."""

    def __init__(self, bound: socket.socket, target: Target) -> None:
        """Receive from now on."""
        self._bound = bound
        self._target = target
        self._clients: dict[object, _UdpClient] = {}
        asyncio.get_running_loop().add_reader(bound, self._receive)

    def close(self) -> None:
        """Stop; safe to repeat."""
        if self._bound.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._bound)
        for client in tuple(self._clients.values()):
            client.close()

    def _receive(self) -> None:
        """Send a client's datagram on."""
        with contextlib.suppress(OSError):
            data, address = self._bound.recvfrom(65536)
            client = self._clients.get(address)
            if client is None:
                client = _UdpClient(self, address, self._target)
                self._clients[address] = client
            client.send(data)

    def answer(self, data: bytes, address: tuple[object, ...]) -> None:
        """Send an answer to a client."""
        self._bound.sendto(data, address)

    def forget(self, address: tuple[object, ...]) -> None:
        """Forget a client that was silent."""
        self._clients.pop(address, None)


class _UdpClient:
    """One client's socket towards the container."""

    def __init__(self, proxy: UdpProxy, address: tuple[object, ...], target: Target) -> None:
        self._proxy = proxy
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_DGRAM
        )
        self._socket.setblocking(False)
        self._socket.connect(target)
        self._loop.add_reader(self._socket, self._receive)
        self._timer = self._loop.call_later(_UDP_IDLE_S, self.close)

    def send(self, data: bytes) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(_UDP_IDLE_S, self.close)
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def close(self) -> None:
        self._timer.cancel()
        self._proxy.forget(self._address)
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            self._proxy.answer(self._socket.recv(65536), self._address)
