"""One embedded DNS server per sandbox: sockets in its namespace, answers from this process."""

import asyncio
import contextlib
import logging
import os
import random
import socket
import struct
from collections.abc import Coroutine
from pathlib import Path

from flotilla_runtime_agent.network.dns import wire
from flotilla_runtime_agent.network.dns.forward import forward
from flotilla_runtime_agent.network.dns.names import Address, Names
from flotilla_runtime_agent.network.host import KernelThread
from flotilla_runtime_agent.network.hosts import parsed_link
from flotilla_runtime_agent.network.netlink.rules import load_rules
from flotilla_runtime_agent.network.netlink.sockets import call_inside
from flotilla_runtime_agent.network.resolv import EMBEDDED
from flotilla_runtime_agent.network.sandboxes import SandboxRecord

_LOG = logging.getLogger(__name__)

_CONCURRENT = 1024  # queries forwarded at once by one server, as dockerd's
_IDLE_S = 30

_RULES = """
add table ip flotilla_dns
delete table ip flotilla_dns
table ip flotilla_dns {{
    chain output {{
        type nat hook output priority -100; policy accept;
        ip daddr {address} udp dport 53 dnat to {address}:{udp}
        ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
    }}
}}
"""


class DnsServers:
    """The servers of all sandboxes of this node."""

    def __init__(self, names: Names, thread: KernelThread) -> None:
        """Answer from these names; sockets are made in the thread."""
        self._names = names
        self._thread = thread
        self._servers: dict[str, _Server] = {}

    async def serve(self, record: SandboxRecord) -> None:
        """Serve a sandbox, from now on as its record says."""
        known = self._servers.get(record.container_id)
        if known is not None:
            known.record = record
            return
        server = _Server(record, self._names, self._thread)
        await server.open()
        self._servers[record.container_id] = server

    async def stop(self, container_id: str) -> None:
        """Stop serving a sandbox; safe to repeat."""
        server = self._servers.pop(container_id, None)
        if server is not None:
            await server.close()

    async def close(self) -> None:
        """Stop all."""
        for container_id in tuple(self._servers):
            await self.stop(container_id)


class _Server:
    def __init__(self, record: SandboxRecord, names: Names, thread: KernelThread) -> None:
        self.record = record
        self._names = names
        self._thread = thread
        self._tasks: set[asyncio.Task[None]] = set()
        self._udp: socket.socket | None = None
        self._tcp: asyncio.Server | None = None

    async def open(self) -> None:
        udp, tcp = await self._thread.run(lambda: _bound_sockets(Path(self.record.key)))
        self._udp = udp
        asyncio.get_running_loop().add_reader(udp, self._receive)
        self._tcp = await asyncio.start_server(self._serve_stream, sock=tcp)

    async def close(self) -> None:
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp)
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive(self) -> None:
        assert self._udp is not None
        try:
            data, client = self._udp.recvfrom(65535)
            query = wire.parsed(data)
        except (OSError, ValueError):
            return
        local = self._local_answer(query)
        if local is not None:
            self._send(wire.truncated(query, local), client)
        elif len(self._tasks) < _CONCURRENT:
            self._spawn(self._forward_datagram(query, client))

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        assert self._udp is not None
        with contextlib.suppress(OSError):
            self._udp.sendto(answer, client)

    async def _forward_datagram(self, query: wire.Query, client: tuple[str, int]) -> None:
        self._send(await self._forward(query, tcp=False), client)

    async def _serve_stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
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
        networks = [one.endpoint.network_id for one in self.record.wired]
        if query.kind == wire.QueryType.PTR:
            address = wire.reverse_address(query.name)
            name = self._names.name_of(networks, address) if address else None
            return wire.pointer_answer(query, name) if name else None
        if query.kind not in (wire.QueryType.A, wire.QueryType.AAAA):
            return None
        found = self._names.addresses(networks, self._linked(query.name))
        if found is None:
            if self.record.ndots_set and "." not in query.name:
                return wire.empty_answer(query, wire.Rcode.NOERROR)
            return None
        version = 4 if query.kind == wire.QueryType.A else 6
        addresses: list[Address] = [one for one in found if one.version == version]
        random.shuffle(addresses)
        return wire.address_answer(query, addresses)

    def _linked(self, name: str) -> str:
        """Return what a name stands for by this container's links."""
        for wired in self.record.wired:
            for link in wired.endpoint.settings.links:
                target, alias = parsed_link(link)
                if alias.lower() == name.lower():
                    return target
        return name

    async def _forward(self, query: wire.Query, *, tcp: bool) -> bytes:
        if all(one.internal for one in self.record.wired):
            return wire.empty_answer(query, wire.Rcode.SERVFAIL)
        return await forward(
            query, self.record.forwarders, tcp=tcp, make_socket=self._forwarding_socket
        )

    async def _forwarding_socket(self, family: int, kind: int) -> socket.socket:
        """Return a socket for asking: in the sandbox for --dns, else in the host's namespace."""
        if not self.record.forwards_inside:
            return _unblocking(family, kind)
        path = Path(self.record.key)
        return await self._thread.run(lambda: _inside(path, family, kind))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _unblocking(family: int, kind: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    return made


def _inside(namespace: Path, family: int, kind: int) -> socket.socket:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return call_inside(descriptor, lambda: _unblocking(family, kind))
    finally:
        os.close(descriptor)


def _bound_sockets(namespace: Path) -> tuple[socket.socket, socket.socket]:
    """Return sockets at any port, to which port 53 leads.

    Port 53 itself stays free, as with dockerd: the container may be a name server.
    """
    udp = _inside(namespace, socket.AF_INET, socket.SOCK_DGRAM)
    tcp = _inside(namespace, socket.AF_INET, socket.SOCK_STREAM)
    try:
        udp.bind((EMBEDDED, 0))
        tcp.bind((EMBEDDED, 0))
        tcp.listen(64)
        rules = _RULES.format(address=EMBEDDED, udp=udp.getsockname()[1], tcp=tcp.getsockname()[1])
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            call_inside(descriptor, lambda: load_rules(rules))
        finally:
            os.close(descriptor)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp
