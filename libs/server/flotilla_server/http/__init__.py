"""HTTP of the services: uvicorn with hijack, half-close, several listeners and TLS."""

from flotilla_server.http.connection import Connection
from flotilla_server.http.extensions import Hijack, body_parts, cut, hijack_of
from flotilla_server.http.listeners import Listener, ListenError, tls_context
from flotilla_server.http.server import HttpServer, serving

__all__ = [
    "Connection",
    "Hijack",
    "HttpServer",
    "ListenError",
    "Listener",
    "body_parts",
    "cut",
    "hijack_of",
    "serving",
    "tls_context",
]
