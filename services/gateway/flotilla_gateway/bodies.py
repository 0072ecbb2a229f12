"""Request bodies: read with a bound, then decoded as dockerd decodes them."""

from __future__ import annotations

from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.bodies import decode
from flotilla_engine.model import EngineModel

M = TypeVar("M", bound=EngineModel)

MAX_BODY_BYTES = 8 * 1024 * 1024


async def read_body(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body.

    Raises:
        InvalidArgumentError: If it is larger than the limit, or the client left.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit_bytes:
                raise InvalidArgumentError("http: request body too large")
            chunks.append(chunk)
    except ClientDisconnect:
        raise InvalidArgumentError("unexpected EOF") from None
    return b"".join(chunks)


async def optional_json(request: Request, model: type[M]) -> M:
    """Read a JSON body that may be left out; its fields then have their defaults.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    body = await read_body(request)
    if not body:
        return model()
    return decode(model, body, request.headers.get("content-type", ""))


async def required_json(request: Request, model: type[M]) -> M:
    """Read a JSON body that must be there.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    body = await read_body(request)
    return decode(model, body, request.headers.get("content-type", ""))
