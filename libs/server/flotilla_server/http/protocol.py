"""uvicorn's httptools protocol with hijack, and with half-closed clients served to the end.

Stock uvicorn refuses `Upgrade: tcp` and closes on a client's FIN. Pipelining is not offered: what
a client sends behind its request waits until the response is over, or is handed to the hijacker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flotilla_server.http.connection import HIGH_WATER_BYTES, Connection
from flotilla_server.http.half_closed import HalfClosedWatch, keep_alive
from flotilla_server.http.parsing import (
    BODY_HEADERS,
    HEAD_END,
    body_parser,
    end_of_head,
    is_library,
)

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HIJACK = "flotilla.hijack"
CUT = "flotilla.cut"
RAW_STREAM = "application/vnd.docker.raw-stream"
_HEAD_LIMIT_BYTES = 1024 * 1024
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
)
_EARLY_LIMIT_BYTES = 256 * 1024
_DISCARD_S = 5.0

Headers = Sequence[tuple[str, str]]


class Hijack(Protocol):
    """Takes the connection over from HTTP."""

    async def __call__(
        self, content_type: str = RAW_STREAM, headers: Headers = (), first: bytes = b""
    ) -> Connection:
        """Answer 101 UPGRADED, or 200 if the client did not ask to upgrade, and go raw.

        Args:
            content_type: Tells the client how the stream is framed.
            headers: Further headers of the answer.
            first: Sent in one piece with the headers.

        Raises:
            RuntimeError: If a response was started already.
            ConnectionResetError: If the client is gone.
        """
        ...


def hijack_of(scope: Mapping[str, Any]) -> Hijack:
    """Return the request's hijack.

    Raises:
        RuntimeError: If another server than ours runs the application.
    """
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    if HIJACK not in extensions:
        raise RuntimeError("this server cannot hijack connections")
    return cast("Hijack", extensions[HIJACK])


def cut(scope: Mapping[str, Any]) -> None:
    """Close the connection in the middle of a response, so that what came is not taken for all."""
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    if CUT in extensions:
        extensions[CUT]()


class EngineHttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection of a Docker client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's arguments."""
        super().__init__(*args, **kwargs)
        self._early = bytearray()
        self._at_eof = False
        self._request_read = False
        self._body_left: int | None = None
        self._tail = b""
        self._body_parser: httptools.HttpRequestParser | None = None
        self._upgrade_seen = False
        self._in_body = False
        self._told_to_continue = False
        self._body: list[bytes] = []
        self._body_size = 0
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
            part, data = self._split(data)
            if not self._parse(part):
                return

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut so that the parser never sees bytes behind the request."""
        if self._body_left is None:
            end = end_of_head(self._tail, data)
            self._tail = (self._tail + data[-3:])[-3:] if end < 0 else b""
            end = len(data) if end < 0 else end
        else:
            end = self._body_left
            self._body_left = max(0, self._body_left - len(data))
        return data[:end], data[end:]

    def _parse(self, data: bytes) -> bool:
        """Feed the parser and tell whether the connection goes on as HTTP."""
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT_BYTES:
                self.transport.write(_HEAD_TOO_LARGE)
                self.transport.close()
                return False
        try:
            (self._body_parser or self.parser).feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return False
        except (httptools.HttpParserError, ValueError) as error:
            if self.transport.is_closing():
                return False
            self.logger.info("Invalid HTTP request: %s", error)
            self.send_400_response("400 Bad Request")
            return False
        return not self.transport.is_closing()

    def on_message_begin(self) -> None:
        """Offer the hijack to the application."""
        super().on_message_begin()
        extensions = {HIJACK: self._hijack, CUT: self._cut}
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", extensions)

    def on_headers_complete(self) -> None:
        """Note how long the body is."""
        headers = {name: value for name, value in self.headers if name in BODY_HEADERS}
        if b"transfer-encoding" not in headers:
            length = headers.get(b"content-length", b"0")
            self._body_left = int(length) if length.isdigit() else 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # uvicorn's own copies each part three times
            self._body.clear()
            self._body_size = 0
            setattr(self.cycle, "receive", partial(self._receive, self.cycle))  # noqa: B010
        self._in_body = True
        if self.parser.should_upgrade() and self._body_left != 0:
            self._body_parser = body_parser(self.on_body, self.on_message_complete, headers)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; uvicorn's own bound is too small for uploads to flow."""
        if self.cycle.response_complete:
            return
        self._body.append(body)
        self._body_size += len(body)
        if self._body_size > HIGH_WATER_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    async def _receive(self, cycle: RequestResponseCycle) -> dict[str, Any]:
        """Give the application what has come of the body (ASGI's `receive`)."""
        if cycle.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
            self._told_to_continue = True
        if not (cycle.disconnected or cycle.response_complete):
            self.flow.resume_reading()
            await cycle.message_event.wait()
            cycle.message_event.clear()
        if cycle.disconnected or cycle.response_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._body)
        self._body.clear()
        self._body_size = 0
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}

    def on_message_complete(self) -> None:
        """Keep what follows for later."""
        if self._body_parser is not None and not self._upgrade_seen:
            self._upgrade_seen = True  # httptools takes a request that upgrades to have no body
            return
        self._request_read = True
        self._body_left = None
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
        self._upgrade_seen = self._in_body = self._told_to_continue = False
        self._head_bytes = 0
        self._body_parser = None
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
