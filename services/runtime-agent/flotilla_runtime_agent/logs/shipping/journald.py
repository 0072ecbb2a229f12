"""Entries of the systemd journal, in its native protocol."""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Iterator

from flotilla_engine.timestamps import rfc3339_nano_of_ns
from flotilla_runtime_agent.logs.shipping.message import STDERR, Line, Origin

_INFO, _ERROR = 6, 3
_FORBIDDEN = re.compile(r"[^A-Z0-9_]")


class Encoder:
    """Numbers the entries of one run of a driver, by which a reader can put them in order."""

    def __init__(self, origin: Origin) -> None:
        """Begin a run."""
        self._origin = origin
        self._epoch = secrets.token_hex(32)
        self._ordinal = 0

    def __call__(self, line: Line) -> Iterator[bytes]:
        """Yield the entry of a line."""
        self._ordinal += 1
        yield encode(line, self._origin, epoch=self._epoch, ordinal=self._ordinal)


def encode(line: Line, origin: Origin, *, epoch: str, ordinal: int) -> bytes:
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
        "SYSLOG_TIMESTAMP": rfc3339_nano_of_ns(line.time_ns).encode(),
        "CONTAINER_LOG_EPOCH": epoch.encode(),
        "CONTAINER_LOG_ORDINAL": b"%d" % ordinal,
    }
    for name, value in origin.extra.items():
        fields[_FORBIDDEN.sub("_", name.upper()).lstrip("_")] = value.encode()
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
