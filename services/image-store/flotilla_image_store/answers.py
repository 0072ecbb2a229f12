"""Answers of the OCI distribution specification: error bodies, and files in ranges."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from flotilla_core.errors import FlotillaError, Kind

_READ_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_STATUS = {
    Kind.NOT_MODIFIED: (304, "UNKNOWN"),
    Kind.INVALID_ARGUMENT: (400, "MANIFEST_INVALID"),
    Kind.UNAUTHENTICATED: (401, "UNAUTHORIZED"),
    Kind.PERMISSION_DENIED: (403, "DENIED"),
    Kind.NOT_FOUND: (404, "NAME_UNKNOWN"),
    Kind.ALREADY_EXISTS: (409, "DENIED"),
    Kind.CONFLICT: (409, "DENIED"),
    Kind.NOT_IMPLEMENTED: (501, "UNSUPPORTED"),
    Kind.INTERNAL: (500, "UNKNOWN"),
    Kind.UNAVAILABLE: (503, "UNAVAILABLE"),
    Kind.DEADLINE_EXCEEDED: (504, "UNAVAILABLE"),
}


def failure(status: int, code: str, message: str) -> JSONResponse:
    """Return an error as the specification wants it."""
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status_code=status)


def of_error(error: FlotillaError, *, code: str = "") -> JSONResponse:
    """Return an error of the taxonomy; `code` replaces the general one."""
    status, general = _STATUS[error.kind]
    return failure(status, code or general, error.message)


def _opened(path: Path) -> tuple[BinaryIO, int]:
    file = path.open("rb")
    return file, os.fstat(file.fileno()).st_size


async def file_answer(
    request: Request, path: Path, media_type: str, headers: dict[str, str]
) -> Response:
    """Send a file, or the range of it that was asked for."""
    try:
        file, size = await asyncio.to_thread(_opened, path)
    except FileNotFoundError:
        return failure(404, "BLOB_UNKNOWN", "blob unknown to registry")
    start, end = 0, size
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    if wanted:
        start = int(wanted[1])
        end = min(size, int(wanted[2]) + 1) if wanted[2] else size
        if start >= end:
            file.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    headers |= {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    status = 206 if wanted else 200
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers, media_type=media_type)

    async def chunks() -> AsyncIterator[bytes]:
        with file:
            file.seek(start)
            left = end - start
            while left:
                chunk = await asyncio.to_thread(file.read, min(_READ_BYTES, left))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk

    return StreamingResponse(chunks(), status_code=status, headers=headers, media_type=media_type)
