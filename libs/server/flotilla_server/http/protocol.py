"""uvicorn's httptools protocol with hijack, and with half-closed clients served to the end.

Stock uvicorn refuses `Upgrade: tcp` and closes on a client's FIN. Pipelining is not offered: what
a client sends behind its request waits until the response is over, or is handed to the hijacker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flotilla_server.http.body import Body, BodyError, ChunkedBody, SizedBody, joined
from flotilla_server.http.connection import HIGH_WATER_BYTES, Connection
from flotilla_server.http.extensions import BODY, CUT, HIJACK, RAW_STREAM, Headers
from flotilla_server.http.half_closed import HalfClosedWatch, keep_alive
from flotilla_server.http.parsing import HEAD_END, end_of_head, is_library

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_HEAD_LIMIT_BYTES = 1024 * 1024
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
)
_EARLY_LIMIT_BYTES = 256 * 1024
_BATCH_BYTES = 256 * 1024
_BATCH_S = 0.002
_DISCARD_S = 5.0


class EngineHttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection of a Docker client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's arguments."""
        super().__init__(*args, **kwargs)
        self._early = bytearray()
        self._at_eof = False
        self._request_read = False
        self._tail = b""
        self._incoming: Body | None = None
        self._told_to_continue = False
        self._body: list[memoryview] = []
        self._body_size = 0
        self._batch_bytes = 0
        self._batch_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._watch: HalfClosedWatch | None = None
        self._discard: asyncio.TimerHandle | None = None

    # What uvicorn or the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enable keep-alive probes: they find clients that died after a half-close."""
        super().connection_made(cast("asyncio.Transport", transport))
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        """Parse one request at a time."""
        self._unset_keepalive_if_required()
        while data:
            if self._request_read:
                self._early += data
                if len(self._early) > _EARLY_LIMIT_BYTES:
                    self.flow.pause_reading()
                return
            if self._incoming is not None:
                data = self._take_body(self._incoming, data)
                continue
            head, data = self._split(data)
            if not self._parse(head):
                return

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut so that the parser never sees bytes behind the head."""
        end = end_of_head(self._tail, data)
        if end < 0:
            self._tail = (self._tail + data[-3:])[-3:]
            return data, b""
        self._tail = b""
        return data[:end], data[end:]

    def _parse(self, data: bytes) -> bool:
        """Feed the parser and tell whether the connection goes on as HTTP."""
        self._head_bytes += len(data)
        if self._head_bytes > _HEAD_LIMIT_BYTES:
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()
            return False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return False
        except (httptools.HttpParserError, ValueError) as error:
            self._refuse(error)
            return False
        return not self.transport.is_closing()

    def _refuse(self, error: Exception) -> None:
        if not self.transport.is_closing():
            self.logger.info("Invalid HTTP request: %s", error)
            self.send_400_response("400 Bad Request")

    def on_message_begin(self) -> None:
        """Offer the hijack to the application."""
        super().on_message_begin()
        extensions = {HIJACK: self._hijack, CUT: self._cut}
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", extensions)

    def on_headers_complete(self) -> None:
        """Note how the body ends; it is not for the parser, which leaves it out of upgrades."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:
            return
        self._taken()
        self._batch_bytes = 0
        self._incoming = self._announced_body()
        # uvicorn's own copies each part three times
        setattr(self.cycle, "receive", partial(self._receive, self.cycle))  # noqa: B010
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[BODY] = partial(self._receive_parts, self.cycle)

    def _announced_body(self) -> Body | None:
        """Return the body that the head tells of; the parser has refused what is ambiguous."""
        headers = dict(self.headers)
        if b"transfer-encoding" in headers:
            return ChunkedBody()
        length = headers.get(b"content-length", b"")
        return SizedBody(int(length)) if length.isdigit() and int(length) else None

    def _take_body(self, incoming: Body, data: bytes) -> bytes:
        """Take what there is of the body, and return what follows it."""
        try:
            parts, data = incoming.take(data)
        except BodyError as error:
            self._refuse(error)
            return b""
        if parts and not self.cycle.response_complete:
            self._body += parts
            self._body_size += sum(map(len, parts))
            if self._body_size > HIGH_WATER_BYTES:
                self.flow.pause_reading()
            self._tell_of_body()
        if incoming.ended:
            self._incoming = None
            self.parser = httptools.HttpRequestParser(self)  # the old one awaits the body
            self._request_complete()
        return data

    def _tell_of_body(self) -> None:
        """Wake the application, at once unless it takes batches."""
        if self._body_size >= self._batch_bytes:
            self.cycle.message_event.set()
        elif self._batch_timer is None:
            self._batch_timer = self.loop.call_later(_BATCH_S, self.cycle.message_event.set)

    async def _receive(self, cycle: RequestResponseCycle) -> dict[str, Any]:
        """Give the application what has come of the body (ASGI's `receive`)."""
        if not await self._has_more(cycle):
            return {"type": "http.disconnect"}
        body = joined(self._taken())
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}

    async def _receive_parts(self, cycle: RequestResponseCycle) -> AsyncIterator[list[memoryview]]:
        """Give the application the body in the parts in which it comes, many at a time."""
        self._batch_bytes = _BATCH_BYTES
        more_body = True
        while more_body:
            if not await self._has_more(cycle):
                raise ConnectionResetError("the client is gone")
            more_body = cycle.more_body
            yield self._taken()

    async def _has_more(self, cycle: RequestResponseCycle) -> bool:
        """Wait for more of the body, or its end; tell whether the client is still there."""
        if cycle.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
            self._told_to_continue = True
        if not (cycle.disconnected or cycle.response_complete):
            self.flow.resume_reading()
            await cycle.message_event.wait()
            cycle.message_event.clear()
        return not (cycle.disconnected or cycle.response_complete)

    def _taken(self) -> list[memoryview]:
        if self._batch_timer is not None:
            self._batch_timer.cancel()
            self._batch_timer = None
        taken, self._body, self._body_size = self._body, [], 0
        return taken

    def on_message_complete(self) -> None:
        """Note the end of a request without a body: the others end with their body."""
        if self._incoming is None:
            self._request_complete()

    def _request_complete(self) -> None:
        """Keep what follows for later."""
        self._request_read = True
        super().on_message_complete()
        if self._discard is not None:
            self._discard.cancel()
            self._discard = None
            self._next_request()

    def on_response_complete(self) -> None:
        """Go on with the next request, unless the client closed its side."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        waits = self.expect_100_continue and not (self._told_to_continue or self._request_read)
        if self._at_eof or waits:
            self.transport.close()
        elif self._request_read:
            self._next_request()
        else:  # closing now would reset the connection, and the answer might be lost
            self._discard = self.loop.call_later(_DISCARD_S, self.transport.close)

    def _next_request(self) -> None:
        self._told_to_continue = False
        self._head_bytes = 0
        if self._early:  # parsed from the loop, behind the end of this response
            self.loop.call_soon(self._resume)
        else:
            self._request_read = False

    def _resume(self) -> None:
        data, self._early = bytes(self._early), bytearray()
        self._request_read = False
        if self.parser is not None and not self.transport.is_closing():
            self.data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Serve a half-closed client to the end, unless it left within its request.

        HTTP libraries, which name themselves, never close their side alone: their FIN means that
        they are gone, and what runs for them should end at once.
        """
        if self._at_eof:
            return True
        self._at_eof = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if not self._request_read or is_library(self.headers):
            cycle.disconnected = True
            cycle.message_event.set()
            return False
        self._watch = HalfClosedWatch(self.transport)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.stop()
        if self._discard is not None:
            self._discard.cancel()
        super().connection_lost(exc)

    def drop(self) -> None:
        """End a request as if its client had left (called when the server ends)."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _cut(self) -> None:
        self.cycle.response_complete = True
        self.transport.close()

    # The hijack

    async def _hijack(
        self, content_type: str = RAW_STREAM, headers: Headers = (), first: bytes = b""
    ) -> Connection:
        cycle = self.cycle
        if cycle.response_started:
            raise RuntimeError("the response was started already")
        while not (self._request_read or cycle.disconnected):
            await cycle.receive()  # a body that nobody wanted is no input either
        if cycle.disconnected or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        upgrade = self._get_upgrade()
        if upgrade is None:
            head = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}"]
        else:
            head = [
                "HTTP/1.1 101 UPGRADED",
                f"Content-Type: {content_type}",
                "Connection: Upgrade",
                f"Upgrade: {upgrade.decode('latin-1')}",
            ]
        head += [f"{name}: {value}" for name, value in headers]
        self.transport.write("\r\n".join(head).encode("latin-1") + HEAD_END + first)
        return self._handed_over(cycle)

    def _handed_over(self, cycle: RequestResponseCycle) -> Connection:
        """Give the transport to a raw connection; uvicorn sees a finished response."""
        cycle.response_started = cycle.response_complete = True
        self._unset_keepalive_if_required()
        if self._watch is not None:
            self._watch.stop()
        self.server_state.total_requests += 1
        self.connections.discard(self)
        self.flow.resume_reading()
        connection = _Hijacked(self, bytes(self._early))
        self._early.clear()
        return connection


class _Hijacked(Connection):
    """A connection that the server knows of until it is lost."""

    def __init__(self, http: EngineHttpProtocol, early: bytes) -> None:
        super().__init__(http.transport, early, at_eof=http._at_eof)
        self._connections = cast("set[Any]", http.connections)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)
