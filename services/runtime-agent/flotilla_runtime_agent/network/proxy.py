"""Userland forwarding for what the kernel cannot translate: IPv6 of the host to IPv4, and ::1."""

import asyncio
import contextlib
import socket

Target = tuple[str, int]

_CHUNK = 256 * 1024
_CONNECT_TIMEOUT_S = 10
_UDP_IDLE_S = 90


class TcpProxy:
    """Accepts on a listening socket and copies both ways, with half-close."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        """Take the socket over; ``start`` begins to accept."""
        self._listener = listener
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=_CHUNK)

    def close(self) -> None:
        """Stop accepting and drop the connections that there are; safe to repeat."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


class UdpProxy(asyncio.DatagramProtocol):
    """Forwards datagrams; answers go back to whoever asked, until a pause of 90 seconds."""

    def __init__(self, bound: socket.socket, target: Target) -> None:
        """Take the socket over; ``start`` begins to receive."""
        self._bound = bound
        self._target = target
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[object, _UdpClient] = {}

    async def start(self) -> None:
        """Receive from now on."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=self._bound)

    def close(self) -> None:
        """Stop; safe to repeat."""
        if self._transport is not None:
            self._transport.close()
        for client in tuple(self._clients.values()):
            client.close()

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """Send a client's datagram on."""
        client = self._clients.get(addr)
        if client is None:
            client = _UdpClient(self, addr, self._target)
            self._clients[addr] = client
        client.send(data)

    def answer(self, data: bytes, address: tuple[object, ...]) -> None:
        """Send an answer to a client."""
        if self._transport is not None:
            self._transport.sendto(data, address)

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


class HeldPort:
    """A port of the host kept from everybody else, with its proxy where one is needed."""

    def __init__(self, bound: socket.socket | None) -> None:
        """Hold a bound socket (None where the kernel has no such protocol)."""
        self._bound = bound
        self._proxy: TcpProxy | UdpProxy | None = None

    async def forward(self, target: Target) -> None:
        """Forward what reaches the socket itself to a container."""
        if self._bound is None:
            return
        if self._bound.type == socket.SOCK_DGRAM:
            self._proxy = UdpProxy(self._bound, target)
        else:
            self._proxy = TcpProxy(self._bound, target)
        await self._proxy.start()

    def close(self) -> None:
        """Give the port back; safe to repeat."""
        if self._proxy is not None:
            self._proxy.close()
        if self._bound is not None:
            self._bound.close()
