"""GELF 1.1: JSON messages, over UDP compressed and in chunks, over TCP ended by a zero byte."""

from __future__ import annotations

import gzip
import json
import platform
import secrets
import zlib
from collections.abc import Iterator

from flotilla_runtime_agent.logs.shipping.message import STDERR, Line, Origin

_CHUNK_BYTES = 1420
_CHUNK_LIMIT = 128
_INFO, _ERROR = 6, 3


def encode(line: Line, origin: Origin) -> bytes:
    """Return the message as JSON."""
    document: dict[str, object] = {
        "version": "1.1",
        "host": platform.node(),
        "short_message": line.text,
        "timestamp": line.time_ns / 1e9,
        "level": _ERROR if line.stream == STDERR else _INFO,
        "_container_id": origin.container_id,
        "_container_name": origin.container_name,
        "_image_id": origin.image_id,
        "_image_name": origin.image_name,
        "_command": origin.command,
        "_tag": origin.tag,
        "_created": origin.created,
    }
    document.update({f"_{name}": value for name, value in origin.extra.items()})
    return json.dumps(document).encode()


def datagrams(message: bytes, *, compression: str, level: int) -> Iterator[bytes]:
    """Yield what is sent by UDP; a message past the limit of chunks is cut by its receiver."""
    match compression:
        case "none":
            data = message
        case "zlib":
            data = zlib.compress(message, level)
        case _:
            data = gzip.compress(message, level)
    if len(data) <= _CHUNK_BYTES:
        yield data
        return
    parts = [data[at : at + _CHUNK_BYTES] for at in range(0, len(data), _CHUNK_BYTES)]
    parts = parts[:_CHUNK_LIMIT]
    identifier = secrets.token_bytes(8)
    for number, part in enumerate(parts):
        yield b"\x1e\x0f" + identifier + bytes((number, len(parts))) + part
