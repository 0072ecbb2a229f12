"""The one map from kinds of errors to the statuses of the Docker Engine API."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flotilla_core.errors import FlotillaError, Kind, unexpected
from flotilla_gateway.answers import json_response

_log = logging.getLogger(__name__)

STATUS = {
    Kind.NOT_MODIFIED: 304,
    Kind.INVALID_ARGUMENT: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.PERMISSION_DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.ALREADY_EXISTS: 409,
    Kind.CONFLICT: 409,
    Kind.NOT_IMPLEMENTED: 501,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
    Kind.DEADLINE_EXCEEDED: 504,
}

PAGE_NOT_FOUND = "page not found"


def error_response(error: FlotillaError) -> Response:
    """Answer an error in Docker's form."""
    status = STATUS[error.kind]
    if status == 304:
        return Response(status_code=304)
    return json_response({"message": error.message}, status)


def unexpected_response(error: Exception) -> Response:
    """Log a bug, and answer without its details."""
    _log.error("unexpected error", exc_info=error)
    return error_response(unexpected(error))


def add_handlers(app: FastAPI) -> None:
    """Make an application answer all errors in Docker's form."""
    app.add_exception_handler(FlotillaError, _on_flotilla_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def _on_flotilla_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FlotillaError)
    return error_response(error)


def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part not in ("query", "path", "body"))
    return json_response({"message": f"invalid {field}: {first['msg']}"}, 400)


def _on_http_exception(_: Request, error: Exception) -> Response:
    """Answer what the router itself found: dockerd knows no 405."""
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        return json_response({"message": PAGE_NOT_FOUND}, 404)
    return json_response({"message": str(error.detail)}, error.status_code)
