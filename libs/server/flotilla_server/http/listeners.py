"""Where a service listens: `tcp://HOST:PORT`, `unix://PATH`, or `tls://HOST:PORT`."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flotilla_server.http.tls import ProtocolFactory, TlsProtocol

_BACKLOG = 2048
_SOCKET_MODE = 0o660


class ListenError(OSError):
    """A listener cannot be opened; the message says which and why."""


@dataclass(frozen=True)
class Listener:
    """One address to listen on.

    Attributes:
        address: `tcp://HOST:PORT` (port 0 lets the system choose), `unix://PATH` or
            `tls://HOST:PORT`.
        tls: The certificate and its rules, needed by `tls://`.
    """

    address: str
    tls: ssl.SSLContext | None = None

    async def opened(self, factory: ProtocolFactory) -> tuple[asyncio.Server, str]:
        """Listen, and return the server with the address it really got.

        Raises:
            ListenError: If that is impossible.
        """
        url = urlsplit(self.address)
        try:
            match url.scheme:
                case "unix":
                    return await self._unix(url.path or url.netloc, factory)
                case "tcp" | "http":
                    return await self._tcp(url.scheme, url.hostname, url.port, factory)
                case "tls" | "https":
                    return await self._tcp(url.scheme, url.hostname, url.port, self._over(factory))
                case _:
                    raise ListenError(f"{self.address}: tcp://, tls:// or unix:// is expected")
        except ListenError:
            raise
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ListenError(f"cannot listen on {self.address}: {reason}") from error

    def _over(self, factory: ProtocolFactory) -> ProtocolFactory:
        context = self.tls
        if context is None:
            raise ListenError(f"{self.address}: a certificate is needed for TLS")
        return lambda: TlsProtocol(context, factory)

    async def _tcp(
        self, scheme: str, host: str | None, port: int | None, factory: ProtocolFactory
    ) -> tuple[asyncio.Server, str]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, host or None, port or 0, backlog=_BACKLOG)
        bound = server.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        return server, f"{scheme}://{shown}:{bound[1]}"

    async def _unix(self, path: str, factory: ProtocolFactory) -> tuple[asyncio.Server, str]:
        """Listen on a socket file that its group may use, as `docker.sock`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(factory, sock=_bound(path), backlog=_BACKLOG)
        return server, f"unix://{path}"


def _bound(path: str) -> socket.socket:
    """Make the socket file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)
        Path(path).chmod(_SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on any more.

    Raises:
        ListenError: If somebody does.
    """
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            Path(path).unlink(missing_ok=True)
            return
    raise ListenError(f"unix://{path}: another process listens there")


def tls_context(certificate: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return the TLS rules of a listener.

    Args:
        certificate: PEM file with the server's certificate and its chain.
        key: PEM file with the server's private key.
        client_ca: PEM file with the authorities whose clients are let in (`--tlsverify`); without
            it every client is.

    Raises:
        ListenError: If a file is missing or wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ListenError(f"TLS files {certificate}, {key}: {error}") from error
    return context
