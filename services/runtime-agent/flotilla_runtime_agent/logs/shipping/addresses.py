"""Addresses of log receivers, and sockets to them. Blocking: used in threads."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flotilla_core.errors import InvalidArgumentError

_TIMEOUT_S = 10


@dataclass(frozen=True)
class Address:
    """Where messages go; ``scheme`` is udp, tcp, tcp+tls, unix or unixgram."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether messages have to be told apart by the receiver."""
        return self.scheme in ("tcp", "tcp+tls", "unix")

    @property
    def place(self) -> str:
        """Where that is, without the scheme."""
        return self.path or f"{self.host}:{self.port}"


def dial_error(address: Address, error: OSError) -> str:
    """Say why there is no connection, in Go's words."""
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    network = address.scheme.removesuffix("+tls")
    if isinstance(error, socket.gaierror):
        return f"dial {network}: lookup {address.host}: no such host"
    if isinstance(error, TimeoutError):
        return f"dial {network} {address.place}: i/o timeout"
    reason = (error.strerror or str(error)).lower()
    return f"dial {network} {address.place}: connect: {reason}"


def parse(text: str, driver: str, schemes: tuple[str, ...], default_port: int) -> Address:
    """Parse ``scheme://host:port`` or ``unix:///path``.

    Raises:
        InvalidArgumentError: If it is no address of that driver.
    """
    try:
        parts = urlsplit(text)
        port = parts.port or default_port
    except ValueError as error:
        raise InvalidArgumentError(f"{driver}-address: {error}") from error
    if parts.scheme not in schemes:
        wrong = f"unsupported scheme: '{parts.scheme}'"
        if driver == "fluentd":
            wrong = f"invalid fluentd-address ({text}): {wrong}"
        raise InvalidArgumentError(wrong)
    if parts.scheme.startswith("unix"):
        return Address(parts.scheme, path=parts.path)
    if not parts.hostname:
        raise InvalidArgumentError(f'{driver}-address: no host in "{text}"')
    return Address(parts.scheme, parts.hostname, port)


def opened(address: Address, tls: Mapping[str, str]) -> socket.socket:
    """Connect.

    Raises:
        OSError: If nobody is there.
    """
    if address.scheme in ("unix", "unixgram"):
        return _local(address)
    if address.scheme == "udp":
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_DGRAM
        )[0]
        connection = socket.socket(family, kind, protocol)
        connection.connect(place)
        return connection
    plain = socket.create_connection((address.host, address.port), _TIMEOUT_S)
    if address.scheme != "tcp+tls":
        return plain
    return _secured(plain, address, tls)


def _local(address: Address) -> socket.socket:
    kinds = (
        (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        if address.scheme == "unix"
        else (socket.SOCK_DGRAM,)
    )
    failure: OSError = OSError("no socket")
    for kind in kinds:
        connection = socket.socket(socket.AF_UNIX, kind)
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(address.path)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _secured(plain: socket.socket, address: Address, tls: Mapping[str, str]) -> socket.socket:
    context = ssl.create_default_context(cafile=tls.get("ca") or None)
    if tls.get("skip-verify", "").lower() in ("1", "true"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.get("cert"):
        context.load_cert_chain(tls["cert"], tls.get("key") or None)
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise
