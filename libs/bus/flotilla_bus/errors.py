"""Errors on the bus: a kind and a message in two headers of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

from flotilla_core.errors import FlotillaError, Kind, error_of

KIND_HEADER = "Nats-Service-Error-Code"
MESSAGE_HEADER = "Nats-Service-Error"

# Everything printable stays readable; line ends, "%" and what is not ASCII are escaped.
_READABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def to_headers(error: FlotillaError) -> dict[str, str]:
    """Return the headers that carry this error."""
    return {
        KIND_HEADER: error.kind.value,
        MESSAGE_HEADER: f'"{quote(error.message, safe=_READABLE)}"',
    }


def from_headers(headers: Mapping[str, str] | None) -> FlotillaError | None:
    """Return the error that an answer carries, or None when it is not one."""
    if not headers or KIND_HEADER not in headers:
        return None
    message = unquote(headers.get(MESSAGE_HEADER, '""')[1:-1])
    return _error(headers[KIND_HEADER], message)


def to_bytes(error: FlotillaError) -> bytes:
    """Return the error in the form in which a stream's last frame carries it."""
    return f"{error.kind.value} {error.message}".encode()


def from_bytes(payload: bytes) -> FlotillaError:
    """Return the error that a stream's last frame carries."""
    kind, _, message = payload.decode(errors="replace").partition(" ")
    return _error(kind, message)


def _error(kind: str, message: str) -> FlotillaError:
    """Return the error; a kind of a newer peer that we do not know is internal."""
    try:
        return error_of(Kind(kind), message)
    except ValueError:
        return error_of(Kind.INTERNAL, message)
