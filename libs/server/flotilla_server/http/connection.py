"""The raw byte connection that a hijacked request leaves behind."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self, cast

from flotilla_server.http.half_closed import HalfClosedWatch

HIGH_WATER_BYTES = 512 * 1024
_CLOSE_TIMEOUT_S = 10.0


class Connection(asyncio.Protocol):
    """A duplex byte stream with half-close in both directions and back-pressure in both.

    One task may read while another writes. Used as a context manager, it closes at the end; what
    was written before is still sent.
    """

    def __init__(self, transport: asyncio.Transport, early: bytes, *, at_eof: bool) -> None:
        """Take over a transport.

        Args:
            transport: The connection, whose protocol this becomes.
            early: What the client sent behind its request.
            at_eof: Whether the client has closed its side already.
        """
        self._transport = transport
        self._chunks: list[bytes] = [early] if early else []
        self._size = len(early)
        self._at_eof = at_eof
        self._lost: Exception | None = None
        self._is_lost = False
        self._reading_paused = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._watch: HalfClosedWatch | None = None
        if at_eof:
            self._watch = HalfClosedWatch(transport)
        if early or at_eof:
            self._readable.set()
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone in both directions."""
        return self._is_lost

    async def read(self) -> bytes:
        """Return the next bytes, or b"" once the client has closed its side or is gone."""
        await self._readable.wait()
        if not self._chunks:
            return b""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if not (self._at_eof or self._is_lost):
            self._readable.clear()
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client reads slowly.

        Raises:
            ConnectionResetError: If the client is gone.
        """
        if self._is_lost or self._transport.is_closing():
            raise ConnectionResetError("the client is gone") from self._lost
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()
            if self._is_lost:
                raise ConnectionResetError("the client is gone") from self._lost

    async def write_eof(self) -> None:
        """Close our side; the client can still send."""
        if not (self._is_lost or self._transport.is_closing()):
            self._transport.write_eof()

    async def wait_lost(self) -> None:
        """Return once the connection is gone in both directions."""
        await self._ended.wait()

    async def aclose(self) -> None:
        """Close both sides after what was written is sent; safe to call twice."""
        self._transport.close()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._ended.wait()
        except TimeoutError:
            self._transport.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    async def __aenter__(self) -> Self:
        """Return the connection itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, or drop at once if cancelled."""
        if exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            self.abort()
        await self.aclose()

    def shutdown(self) -> None:
        """End with the server (called by it)."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a transport that is wrapped anew (asyncio's callback)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep bytes for `read` (asyncio's callback)."""
        self._chunks.append(data)
        self._size += len(data)
        self._readable.set()
        if self._size > HIGH_WATER_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Note the client's half-close and keep our side open (asyncio's callback)."""
        if not self._at_eof:
            self._at_eof = True
            self._watch = HalfClosedWatch(self._transport)
            self._readable.set()
        return True

    def pause_writing(self) -> None:
        """Make writers wait (asyncio's callback)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers go on (asyncio's callback)."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody (asyncio's callback)."""
        if self._watch is not None:
            self._watch.stop()
        self._is_lost = True
        self._lost = exc
        self._readable.set()
        self._writable.set()
        self._ended.set()
