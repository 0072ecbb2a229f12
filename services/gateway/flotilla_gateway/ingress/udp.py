"""A UDP port of the gateway whose datagrams are carried on to nodes, and the answers back."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import cast

from flotilla_gateway.ingress.targets import Target

_IDLE_S = 90.0
_MAX_CLIENTS = 1024

Address = tuple[str, int]


class UdpPort:
    """Listens on one port; each client keeps its target until it is silent for a while."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = targets
        self._turns = count()
        self._listeners: list[asyncio.DatagramTransport] = []
        self._clients: dict[Address, _Client] = {}

    async def open(self, hosts: Sequence[str] | None, port: int) -> None:
        """Listen. Raises: OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            for host in hosts or ("0.0.0.0", "::"):
                transport, _ = await loop.create_datagram_endpoint(
                    lambda: _Listener(self), local_addr=(host, port)
                )
                self._listeners.append(transport)
        except OSError:
            if not self._listeners or hosts:
                await self.close()
                raise

    async def close(self) -> None:
        """Stop listening, and forget the clients."""
        for listener in self._listeners:
            listener.close()
        for client in list(self._clients.values()):
            client.close()

    def received(self, data: bytes, client: Address, via: asyncio.DatagramTransport) -> None:
        """Carry a client's datagram on."""
        known = self._clients.get(client)
        if known is None:
            if not self.targets:
                return
            if len(self._clients) >= _MAX_CLIENTS:
                next(iter(self._clients.values())).close()
            target = self.targets[next(self._turns) % len(self.targets)]
            known = _Client(self, client, via, target)
            self._clients[client] = known
        known.send(data)

    def forget(self, client: Address) -> None:
        """Let a client go."""
        self._clients.pop(client, None)


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, port: UdpPort) -> None:
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None:
            self._port.received(data, address, self._transport)


class _Client(asyncio.DatagramProtocol):
    """One client's connected socket towards its target."""

    def __init__(
        self, port: UdpPort, client: Address, via: asyncio.DatagramTransport, target: Target
    ) -> None:
        self._port = port
        self._client = client
        self._via = via
        self._transport: asyncio.DatagramTransport | None = None
        self._early: list[bytes] = []
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(_IDLE_S, self.close)
        self._opening = loop.create_task(self._open(target))

    async def _open(self, target: Target) -> None:
        try:
            await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, remote_addr=(target.address, target.port)
            )
        except OSError:
            self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        for data in self._early:
            self._transport.sendto(data)
        self._early.clear()

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._via.sendto(data, self._client)

    def send(self, data: bytes) -> None:
        """Send a datagram to the target; the first ones wait for the socket."""
        self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self.close)
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._early) < 16:
            self._early.append(data)

    def close(self) -> None:
        """Let go of the socket."""
        self._idle.cancel()
        self._opening.cancel()
        if self._transport is not None:
            self._transport.close()
        self._port.forget(self._client)
