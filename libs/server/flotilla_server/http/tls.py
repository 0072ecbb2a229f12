"""TLS over `ssl.MemoryBIO`, which keeps our side open after the client's close_notify.

asyncio's and uvloop's own TLS close the whole connection on a close_notify: the output of
`echo | docker run -i` would be lost. This layer is a protocol towards the socket and a transport
towards the protocol above it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

_log = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024
_HANDSHAKE_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class TlsProtocol(asyncio.Protocol):
    """The server side of one TLS connection."""

    def __init__(self, context: ssl.SSLContext, factory: ProtocolFactory) -> None:
        """Serve a connection whose plain text goes to a protocol of the factory."""
        self.context = context
        self._factory = factory
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.raw: asyncio.Transport = cast("asyncio.Transport", None)
        self.above: asyncio.Protocol | None = None
        self._upper: TlsTransport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._held: deque[bytes] = deque()
        self._eof_seen = False
        self._eof_told = False
        self._closing = False

    # From the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake (asyncio's callback)."""
        self.raw = cast("asyncio.Transport", transport)
        self.raw.set_write_buffer_limits(high=_READ_BYTES * 2)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(_HANDSHAKE_TIMEOUT_S, self.raw.abort)

    def data_received(self, data: bytes) -> None:
        """Decrypt (asyncio's callback)."""
        self._incoming.write(data)
        if self.above is None and not self._shake_hands():
            return
        self._decrypt()
        self._flush()

    def eof_received(self) -> bool:
        """Take a bare FIN as the end of the client's data (asyncio's callback)."""
        if self.above is None:
            return False
        self._eof_seen = True
        self._tell_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol above (asyncio's callback)."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._closing = True
        if self.above is not None:
            self.above.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass the back-pressure on (asyncio's callback)."""
        if self.above is not None:
            self.above.pause_writing()

    def resume_writing(self) -> None:
        """Pass the end of the back-pressure on (asyncio's callback)."""
        if self.above is not None:
            self.above.resume_writing()

    def _shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            _log.info("TLS handshake failed: %s", error)
            self._flush()
            self.raw.close()
            return False
        self._flush()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._upper = TlsTransport(self)
        self.above = cast("asyncio.Protocol", self._factory())
        self.above.connection_made(self._upper)
        return True

    def _decrypt(self) -> None:
        while not self._eof_seen:
            try:
                data = self.tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                _log.info("TLS connection failed: %s", error)
                self.raw.abort()
                return
            if not data:
                self._eof_seen = True
            elif self._reading_paused or self._held:
                self._held.append(data)
            elif self.above is not None:
                self.above.data_received(data)
        self._tell_eof()

    def _tell_eof(self) -> None:
        if not self._eof_seen or self._eof_told or self._held or self.above is None:
            return
        self._eof_told = True
        if not self.above.eof_received() and not self._closing:
            self.close()

    # From the protocol above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._closing or not data:
            return
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            _log.info("TLS connection failed: %s", error)
            self.raw.abort()
            return
        self._flush()

    def write_eof(self) -> None:
        """Send our close_notify; the client may go on sending."""
        with contextlib.suppress(ssl.SSLError):  # no need to wait for the client's close_notify
            self.tls.unwrap()
        self._flush()

    def close(self) -> None:
        """Send what is written, our close_notify and the FIN."""
        if self._closing:
            return
        self.write_eof()
        self._closing = True
        self.raw.close()
        self._deadline = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, self.raw.abort)

    def pause_reading(self) -> None:
        """Hold decrypted bytes back, and let the socket's buffer fill."""
        self._reading_paused = True
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Hand over what was held back, and read on."""
        self._reading_paused = False
        while self._held and not self._reading_paused and self.above is not None:
            self.above.data_received(self._held.popleft())
        if self._reading_paused:
            return
        self._tell_eof()
        if not self._closing and not self.raw.is_closing():
            self.raw.resume_reading()

    @property
    def is_closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self._closing or self.raw.is_closing()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.raw.write(self._outgoing.read())


class TlsTransport(asyncio.Transport):
    """What the protocol above TLS writes to."""

    def __init__(self, tls: TlsProtocol) -> None:
        """Stand in front of a TLS connection."""
        super().__init__()
        self._tls = tls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket or TLS knows."""
        match name:
            case "ssl_object":
                return self._tls.tls
            case "sslcontext":
                return self._tls.context
            case "peercert":
                return self._tls.tls.getpeercert()
            case _:
                return self._tls.raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Send the plain text to another protocol from now on."""
        self._tls.above = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return cast("asyncio.Protocol", self._tls.above)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        self._tls.write(data)

    def write_eof(self) -> None:
        """Close our side."""
        self._tls.write_eof()

    def can_write_eof(self) -> bool:
        """Tell that half-close works."""
        return True

    def close(self) -> None:
        """Close both sides."""
        self._tls.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._tls.raw.abort()

    def is_closing(self) -> bool:
        """Tell whether the connection is on its way out."""
        return self._tls.is_closing

    def pause_reading(self) -> None:
        """Stop handing over bytes."""
        self._tls.pause_reading()

    def resume_reading(self) -> None:
        """Go on handing over bytes."""
        self._tls.resume_reading()

    def is_reading(self) -> bool:
        """Tell whether bytes are handed over."""
        return not self._tls.is_closing and self._tls.raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when writers are paused."""
        self._tls.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._tls.raw.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return when writers are paused."""
        return self._tls.raw.get_write_buffer_limits()
