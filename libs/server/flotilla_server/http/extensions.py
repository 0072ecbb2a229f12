"""What our server offers to applications beyond ASGI, in the scope's extensions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, cast

from flotilla_server.http.connection import Connection

HIJACK = "flotilla.hijack"
CUT = "flotilla.cut"
BODY = "flotilla.body"
RAW_STREAM = "application/vnd.docker.raw-stream"

Headers = Sequence[tuple[str, str]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


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


async def body_parts(scope: Mapping[str, Any], receive: Receive) -> AsyncIterator[list[memoryview]]:
    """Yield the request's body as it comes, without a copy if our server runs the application.

    Raises:
        ConnectionResetError: If the client left before the end.
    """
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    if BODY in extensions:
        async for parts in extensions[BODY]():
            yield parts
        return
    more_body = True
    while more_body:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client is gone")
        more_body = message.get("more_body", False)
        yield [memoryview(message.get("body", b""))]


def cut(scope: Mapping[str, Any]) -> None:
    """Close the connection in the middle of a response, so that what came is not taken for all."""
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    if CUT in extensions:
        extensions[CUT]()
