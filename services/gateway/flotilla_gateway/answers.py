"""Responses as dockerd writes them: `Content-Type` is exactly `application/json`."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.responses import Response

JSON = "application/json"


def json_response(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a JSON document and a line's end, as Go's encoder writes it."""
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    return Response(body, status, headers, media_type=JSON)


def empty_response(status: int = 204) -> Response:
    """Answer without a body."""
    return Response(status_code=status)
