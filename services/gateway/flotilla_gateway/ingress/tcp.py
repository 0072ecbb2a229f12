"""A TCP port of the gateway whose connections are carried on to nodes."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from itertools import count

from flotilla_gateway.ingress.targets import Target

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024
_CONNECT_WITHIN_S = 10.0


class TcpPort:
    """Listens on one port; each connection goes to the next target that takes it."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = targets
        self._turns = count()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, hosts: Sequence[str] | None, port: int) -> None:
        """Listen. Raises: OSError if the port is taken."""
        self._server = await asyncio.start_server(self._accept, hosts, port)

    async def close(self) -> None:
        """Stop listening, and end the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._carry(reader, writer)
        except (OSError, TimeoutError) as error:
            log.debug("ingress connection ended: %s", error)
        finally:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await self._connect()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, inner_writer))
                tasks.create_task(_copy(inner_reader, writer))
        finally:
            inner_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turns)
        targets = list(self.targets)
        error: Exception = ConnectionRefusedError("no node has the port")
        for turn in range(len(targets)):
            target = targets[(first + turn) % len(targets)]
            try:
                async with asyncio.timeout(_CONNECT_WITHIN_S):
                    return await asyncio.open_connection(target.address, target.port)
            except (OSError, TimeoutError) as failure:
                error = failure
        raise error


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes to the end, and pass on that end; a reset of either side ends both."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
