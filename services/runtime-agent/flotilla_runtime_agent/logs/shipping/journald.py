"""Entries of the systemd journal, in its native protocol."""

from __future__ import annotations

import re
import struct

from flotilla_runtime_agent.logs.shipping.message import STDERR, Line, Origin

_INFO, _ERROR = 6, 3
_FORBIDDEN = re.compile(r"[^A-Z0-9_]")


def encode(line: Line, origin: Origin) -> bytes:
    """Return one entry."""
    fields: dict[str, bytes] = {
        "MESSAGE": line.content,
        "PRIORITY": b"%d" % (_ERROR if line.stream == STDERR else _INFO),
        "CONTAINER_ID": origin.container_id[:12].encode(),
        "CONTAINER_ID_FULL": origin.container_id.encode(),
        "CONTAINER_NAME": origin.container_name.removeprefix("/").encode(),
        "CONTAINER_TAG": origin.tag.encode(),
        "IMAGE_NAME": origin.image_name.encode(),
        "SYSLOG_IDENTIFIER": origin.tag.encode(),
        "SYSLOG_TIMESTAMP": b"%d" % (line.time_ns // 1000),
    }
    for name, value in origin.extra.items():
        fields[_FORBIDDEN.sub("_", name.upper()).lstrip("_")] = value.encode()
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
