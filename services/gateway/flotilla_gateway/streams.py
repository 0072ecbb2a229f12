"""Responses that carry a stream of the bus: as a body, or on a hijacked connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flotilla_bus import Stream
from flotilla_core.errors import FlotillaError
from flotilla_engine.stdcopy import STDERR, frame
from flotilla_engine.versions import Version
from flotilla_gateway.middleware import HEADERS
from flotilla_server.http import Connection, cut, hijack_of

_log = logging.getLogger(__name__)

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def stream_type(*, tty: bool, version: Version) -> str:
    """Return how a container's output is framed, in the client's API version."""
    return MULTIPLEXED if not tty and version >= (1, 42) else RAW


async def send_body(body: AsyncIterator[list[memoryview]], stream: Stream) -> None:
    """Hand a request's body on, and end the stream's direction.

    Raises:
        ConnectionResetError: If the client left before the body's end.
        FlotillaError: If the stream breaks.
    """
    async for parts in body:
        await stream.write_parts(parts)
    await stream.write_eof()


async def _cut_if_broken(scope: Scope, sending: Awaitable[None]) -> None:
    """Send a body; if its source breaks, cut the connection: the status is sent already."""
    try:
        await sending
    except FlotillaError as error:
        _log.info("response of %s has ended early: %s", scope["path"], error)
        cut(scope)


class BodyStream(Response):
    """A chunked body that comes from a stream of the bus, closed with the response.

    If the stream breaks, the connection is cut, so that the client does not take what came for all.
    """

    def __init__(
        self, stream: Stream, media_type: str | None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take over a stream."""
        super().__init__(None, 200, headers, media_type)
        self._stream = stream
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the stream's end or the client's."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with self._stream as stream:
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await _cut_if_broken(scope, unless_gone(receive, self._sent(stream, send)))

    async def _sent(self, stream: Stream, send: Send) -> None:
        while data := await stream.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class GeneratedBody(Response):
    """A chunked body that comes from an iterator, which is closed with the response."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        media_type: str | None,
        *,
        resources: contextlib.AsyncExitStack | None = None,
    ) -> None:
        """Take over an iterator, and what it reads from."""
        super().__init__(None, 200, None, media_type)
        self._chunks = chunks
        self._resources = resources or contextlib.AsyncExitStack()
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the iterator's end or the client's."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with self._resources:
            await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await _cut_if_broken(scope, unless_gone(receive, self._sent(send)))

    async def _sent(self, send: Send) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if hasattr(self._chunks, "aclose"):
                stack.push_async_callback(self._chunks.aclose)
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


class HijackedStream(Response):
    """The client's connection joined to a stream of the bus, both ways, until the output ends."""

    def __init__(
        self,
        stream: Stream,
        content_type: str,
        *,
        takes_input: bool,
        tty: bool,
        first: bytes = b"",
    ) -> None:
        """Take over a stream.

        Args:
            stream: What the node sends and takes.
            content_type: Tells the client how the output is framed.
            takes_input: Whether what the client sends is passed on; it is dropped otherwise.
            tty: Whether the output is bare; it is multiplexed otherwise.
            first: Sent in one piece with the headers.
        """
        super().__init__()
        self._tty = tty
        self._first = first
        self._stream = stream
        self._content_type = content_type
        self._takes_input = takes_input

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Join the two."""
        async with self._stream as stream:
            scope["flotilla.hijacked"] = True
            async with await hijack_of(scope)(
                self._content_type, HEADERS, self._first
            ) as connection:
                await self._joined(connection, stream)

    async def _joined(self, connection: Connection, stream: Stream) -> None:
        """Copy both ways until the output ends or the client is gone; tell why it ended early."""
        try:
            await joined(connection, stream, takes_input=self._takes_input)
        except FlotillaError as error:
            _log.info("stream of %s has ended early: %s", stream.peer, error)
            text = f"{error.message}\r\n".encode()
            with contextlib.suppress(ConnectionResetError):
                await connection.write(text if self._tty else frame(STDERR, text))


async def joined(connection: Connection, stream: Stream, *, takes_input: bool) -> None:
    """Copy both ways until the stream's output ends or the client is gone.

    Raises:
        FlotillaError: If the stream breaks.
    """
    incoming = asyncio.create_task(_incoming(connection, stream, takes_input=takes_input))
    lost = asyncio.create_task(connection.wait_lost())
    outgoing = asyncio.create_task(_outgoing(connection, stream))
    try:
        await asyncio.wait([outgoing, lost], return_when=asyncio.FIRST_COMPLETED)
        if outgoing.done():
            outgoing.result()
    finally:
        for task in (incoming, lost, outgoing):
            task.cancel()
        await asyncio.gather(incoming, lost, outgoing, return_exceptions=True)


async def _outgoing(connection: Connection, stream: Stream) -> None:
    with contextlib.suppress(ConnectionResetError):
        while data := await stream.read():
            await connection.write(data)
        await stream.write_eof()


async def _incoming(connection: Connection, stream: Stream, *, takes_input: bool) -> None:
    with contextlib.suppress(FlotillaError):
        while data := await connection.read():
            if takes_input:
                await stream.write(data)
        if takes_input and not connection.is_lost:
            await stream.write_eof()


async def unless_gone(receive: Receive, work: Awaitable[None]) -> None:
    """Do work, but cancel it when the client leaves."""
    working = asyncio.ensure_future(work)
    gone = asyncio.create_task(until_gone(receive))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def until_gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
