"""What goes wrong with registries, in the words of Docker's client of them."""

import errno
import json
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from flotilla_core.errors import FlotillaError, Kind

_KINDS = {
    "UNAUTHORIZED": Kind.UNAUTHENTICATED,
    "DENIED": Kind.PERMISSION_DENIED,
    "MANIFEST_UNKNOWN": Kind.NOT_FOUND,
    "NAME_UNKNOWN": Kind.NOT_FOUND,
    "BLOB_UNKNOWN": Kind.NOT_FOUND,
    "UNAVAILABLE": Kind.UNAVAILABLE,
    "TOOMANYREQUESTS": Kind.UNAVAILABLE,
}
_DEFAULT_MESSAGES = {
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "MANIFEST_UNKNOWN": "manifest unknown",
    "NAME_UNKNOWN": "repository name not known to registry",
}


class RegistryError(FlotillaError):
    """A registry's refusal; the first of its errors decides.

    Attributes:
        code: `MANIFEST_UNKNOWN`, `DENIED`, …; empty if the registry gave none.
    """

    def __init__(self, code: str, message: str, kind: Kind | None = None) -> None:
        """Make an error of a registry's code."""
        self.code = code
        super().__init__(kind or _KINDS.get(code, Kind.INTERNAL), message)


@dataclass(frozen=True)
class _Coded:
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code.lower().replace('_', ' ')}: {self.message}"


def of_answer(status: int, body: bytes) -> RegistryError:
    """Read the errors of an answer that refuses (distribution's HandleErrorResponse)."""
    coded = _errors(body)
    if coded:
        text = str(coded[0])
        if len(coded) > 1:
            text = "errors:\n" + "".join(f"{one}\n" for one in coded)
        return RegistryError(coded[0].code, text)
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
    match status:
        case 401:
            return RegistryError("UNAUTHORIZED", "unauthorized: authentication required")
        case 403:
            return RegistryError("DENIED", "denied: requested access to the resource is denied")
        case 429:
            return RegistryError("TOOMANYREQUESTS", "toomanyrequests: too many requests")
        case 404:
            shown = body[:200].decode("utf-8", "replace")
            return RegistryError(
                "",
                f"error parsing HTTP 404 response body: no error details found in HTTP response "
                f"body: {json.dumps(shown)}",
            )
        case _:
            return RegistryError("", f"received unexpected HTTP status: {status} {phrase}")


def unreachable(method: str, url: str, error: httpx.TransportError) -> FlotillaError:
    """Say why a registry could not be reached, as Go's HTTP client says it."""
    return FlotillaError(Kind.INTERNAL, f'{method} "{url}": {_reason(url, error)}')


def _reason(url: str, error: httpx.TransportError) -> str:
    cause = _cause(error)
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    if isinstance(cause, socket.gaierror):
        return f"dial tcp: lookup {host}: no such host"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(error, httpx.ConnectTimeout):
        return f"dial tcp {host}:{port}: i/o timeout"
    if isinstance(error, httpx.TimeoutException):
        return "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    if isinstance(cause, OSError) or isinstance(error, httpx.ConnectError):
        number = cause.errno if isinstance(cause, OSError) else None
        words = "connection refused"
        if number is not None and number != errno.ECONNREFUSED:
            words = (errno.errorcode.get(number) and _words(number)) or str(cause)
        return f"dial tcp {_address(host)}:{port}: connect: {words}"
    return "EOF" if isinstance(error, httpx.RemoteProtocolError) else str(error)


def _address(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _words(number: int) -> str:
    match number:
        case errno.ENETUNREACH:
            return "network is unreachable"
        case errno.EHOSTUNREACH:
            return "no route to host"
        case errno.ECONNRESET:
            return "connection reset by peer"
        case _:
            return errno.errorcode.get(number, "").lower()


def _cause(error: BaseException) -> BaseException:
    """Return the system's own error below those of the HTTP libraries."""
    seen = error
    for _ in range(8):
        if isinstance(seen, OSError):
            return seen
        following = seen.__cause__ or seen.__context__
        if following is None:
            return seen
        seen = following
    return seen


def _errors(body: bytes) -> list[_Coded]:
    try:
        value: Any = json.loads(body)
    except ValueError:
        return []
    if not isinstance(value, dict):
        return []
    if isinstance(details := value.get("details"), str) and details:
        return [_Coded("UNAUTHORIZED", details)]
    listed = value.get("errors")
    if not isinstance(listed, list):
        return []
    return [
        _Coded(code, str(entry.get("message") or _DEFAULT_MESSAGES.get(code, "unknown error")))
        for entry in listed
        if isinstance(entry, dict) and (code := str(entry.get("code") or "UNKNOWN").upper())
    ]
