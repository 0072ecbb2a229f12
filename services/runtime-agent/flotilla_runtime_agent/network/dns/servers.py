"""One embedded DNS server per sandbox: sockets in its namespace, answers from this process."""

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Coroutine, Iterator

from flotilla_runtime_agent.network.daemon.state import Resolver
from flotilla_runtime_agent.network.dns import wire
from flotilla_runtime_agent.network.dns.forward import forward
from flotilla_runtime_agent.network.dns.names import Address, Names
from flotilla_runtime_agent.network.netlink.sockets import call_inside

_CONCURRENT = 1024  # queries forwarded at once by one server, as dockerd's
_IDLE_S = 30


class DnsServers:
    """The servers of all sandboxes of this node."""

    def __init__(self, names: Names) -> None:
        """Answer from these names."""
        self._names = names
        self._servers: dict[str, _Server] = {}

    def __len__(self) -> int:
        """Return how many sandboxes are served."""
        return len(self._servers)

    def ids(self) -> list[str]:
        """Return which containers are served."""
        return list(self._servers)

    def serve(self, resolver: Resolver, *sockets: socket.socket) -> bool:
        """Serve a sandbox from now on as told; answers False where its sockets are needed first.

        The sockets are for UDP and TCP, and the server's own from now on; without them the ones
        that it has are kept.
        """
        known = self._servers.get(resolver.container_id)
        if sockets:
            if known is not None:
                known.close()
            udp, tcp = sockets
            known = _Server(resolver, self._names, udp, tcp)
            self._servers[resolver.container_id] = known
        elif known is not None:
            known.resolver = resolver
        return known is not None

    def sockets(self) -> Iterator[tuple[str, tuple[socket.socket, socket.socket]]]:
        """Yield each server's sockets."""
        for container_id, server in self._servers.items():
            yield container_id, server.sockets

    def stop(self, container_id: str) -> None:
        """Stop serving a sandbox; safe to repeat."""
        server = self._servers.pop(container_id, None)
        if server is not None:
            server.close()

    def close(self) -> None:
        """Stop all."""
        for container_id in tuple(self._servers):
            self.stop(container_id)


class _Server:
    def __init__(
        self, resolver: Resolver, names: Names, udp: socket.socket, tcp: socket.socket
    ) -> None:
        self.resolver = resolver
        self.sockets = (udp, tcp)
        self._names = names
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        loop.add_reader(udp, self._receive)
        loop.add_reader(tcp, self._accept)

    def close(self) -> None:
        for one in self.sockets:
            asyncio.get_running_loop().remove_reader(one)
            one.close()
        for task in tuple(self._tasks):
            task.cancel()

    def _receive(self) -> None:
        try:
            data, client = self.sockets[0].recvfrom(65535)
            query = wire.parsed(data)
        except (OSError, ValueError):
            return
        local = self._local_answer(query)
        if local is not None:
            self._send(wire.truncated(query, local), client)
        elif len(self._tasks) < _CONCURRENT:
            self._spawn(self._forward_datagram(query, client))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.sockets[1].accept()
            if len(self._tasks) < _CONCURRENT:
                connection.setblocking(False)
                self._spawn(self._serve_stream(connection))
            else:
                connection.close()

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            self.sockets[0].sendto(answer, client)

    async def _forward_datagram(self, query: wire.Query, client: tuple[str, int]) -> None:
        self._send(await self._forward(query, tcp=False), client)

    async def _serve_stream(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    (size,) = struct.unpack("!H", await reader.readexactly(2))
                    query = wire.parsed(await reader.readexactly(size))
                answer = self._local_answer(query) or await self._forward(query, tcp=True)
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _local_answer(self, query: wire.Query) -> bytes | None:
        networks = self.resolver.networks
        if query.kind == wire.QueryType.PTR:
            address = wire.reverse_address(query.name)
            name = self._names.name_of(networks, address) if address else None
            return wire.pointer_answer(query, name) if name else None
        if query.kind not in (wire.QueryType.A, wire.QueryType.AAAA):
            return None
        wanted = self.resolver.links.get(query.name.lower(), query.name)
        found = self._names.addresses(networks, wanted)
        if found is None:
            if self.resolver.ndots_set and "." not in query.name:
                return wire.empty_answer(query, wire.Rcode.NOERROR)
            return None
        version = 4 if query.kind == wire.QueryType.A else 6
        addresses: list[Address] = [one for one in found if one.version == version]
        random.shuffle(addresses)
        return wire.address_answer(query, addresses)

    async def _forward(self, query: wire.Query, *, tcp: bool) -> bytes:
        return await forward(
            query, self.resolver.forwarders, tcp=tcp, make_socket=self._forwarding_socket
        )

    def _forwarding_socket(self, family: int, kind: int) -> socket.socket:
        """Return a socket for asking: in the sandbox for --dns, else in the host's namespace."""
        if not self.resolver.forwards_inside:
            return unblocking(family, kind)
        return made_inside(self.resolver.key, family, kind)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def unblocking(family: int, kind: int) -> socket.socket:
    """Return a socket for an event loop."""
    made = socket.socket(family, kind)
    made.setblocking(False)
    return made


def made_inside(namespace: str, family: int, kind: int) -> socket.socket:
    """Return a socket of another network namespace."""
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return call_inside(descriptor, lambda: unblocking(family, kind))
    finally:
        os.close(descriptor)
