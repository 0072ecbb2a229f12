"""Fetches one layer from the image store and unpacks it, in a process of its own.

    python -m flotilla_runtime_agent.snapshots.fetch < order > result

The order is one JSON object: see `Order`. The result is a JSON object as well: `size_bytes`, or
`kind` and `error`. A broken connection is taken up again where it broke.
"""

import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from flotilla_core.errors import (
    FlotillaError,
    InternalError,
    Kind,
    NotFoundError,
    UnavailableError,
)
from flotilla_oci import unpack

_READ_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_PATIENCE_S = 20.0
_PAUSE_S = 0.5


@dataclass(frozen=True)
class Order:
    """What to fetch, from where, and the folder it goes to."""

    url: str  # of the blob
    token: str
    ca_file: str
    folder: str
    diff_id: str
    size_bytes: int  # of the blob


class _Connection(http.client.HTTPConnection):
    """Connects to addresses that were looked up before the process changed its root."""

    def __init__(self, url: str, ca_file: str) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        host = parts.hostname or ""
        port = parts.port or (443 if is_tls else 80)
        super().__init__(host, port, timeout=_TIMEOUT_S)
        self._addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._tls = ssl.create_default_context(cafile=ca_file or None) if is_tls else None

    def connect(self) -> None:
        problem: OSError = ConnectionRefusedError("no address")
        for family, kind, protocol, _, address in self._addresses:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(_TIMEOUT_S)
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                problem = error
                continue
            self.sock = (
                self._tls.wrap_socket(sock, server_hostname=self.host) if self._tls else sock
            )
            return
        raise problem


class _Source:
    """The blob's bytes, across broken connections."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._path = urlsplit(order.url).path
        self._connection = _Connection(order.url, order.ca_file)
        self._offset = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the blob.

        Raises:
            FlotillaError: If the store has no such blob, or does not answer for long.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while self._offset < self._order.size_bytes:
            try:
                for chunk in self._once():
                    self._offset += len(chunk)
                    deadline = time.monotonic() + _PATIENCE_S
                    yield chunk
                if self._offset < self._order.size_bytes:
                    raise http.client.HTTPException("the answer has ended early")
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if time.monotonic() > deadline:
                    raise UnavailableError(f"image store does not answer: {error}") from error
                time.sleep(_PAUSE_S)

    def _once(self) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity"}
        if self._order.token:
            headers["Authorization"] = f"Bearer {self._order.token}"
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
        self._connection.request("GET", self._path, headers=headers)
        answer = self._connection.getresponse()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            raise NotFoundError(f"image store has no layer {self._path.rpartition('/')[2]}")
        if answer.status in (401, 403):
            raise InternalError(f"image store refuses this node: {answer.status}")
        wanted = http.HTTPStatus.PARTIAL_CONTENT if self._offset else http.HTTPStatus.OK
        if answer.status != wanted:
            raise http.client.HTTPException(f"status {answer.status}")
        while chunk := answer.read(_READ_BYTES):
            yield chunk


def carry_out(order: Order) -> int:
    """Fetch and unpack; the process has another root afterwards. Returns the unpacked size."""
    try:
        source = _Source(order)
    except OSError as error:
        raise UnavailableError(f"image store does not answer: {error}") from error
    unpack.enter(order.folder)
    result = unpack.unpack(source.chunks(), "/", overlay=True)
    if result.diff_id != order.diff_id:
        raise InternalError(f"layer is {result.diff_id}, not {order.diff_id}")
    return result.size_bytes


def main() -> int:
    """Carry out the order on standard input."""
    order = Order(**json.load(sys.stdin))
    try:
        json.dump({"size_bytes": carry_out(order)}, sys.stdout)
    except FlotillaError as error:
        json.dump({"kind": error.kind, "error": error.message}, sys.stdout)
    except OSError as error:
        text = f"cannot unpack layer {order.diff_id}: {os.strerror(error.errno or 0)}"
        json.dump({"kind": Kind.INTERNAL, "error": text}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
