"""Fluentd's forward protocol, message mode, and as much of MessagePack as it takes."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from flotilla_runtime_agent.logs.shipping.message import Line, Origin


def encode(line: Line, origin: Origin, *, has_fractions: bool) -> bytes:
    """Return one message: tag, time, record."""
    record: dict[str, str | bytes] = {
        "container_id": origin.container_id,
        "container_name": origin.container_name,
        "source": line.source,
        "log": line.content,
        **origin.extra,
    }
    seconds, rest = divmod(line.time_ns, 1_000_000_000)
    moment = (
        b"\xd7\x00" + struct.pack(">II", seconds, rest)  # EventTime
        if has_fractions
        else b"\xce" + struct.pack(">I", seconds)
    )
    return b"\x93" + _text(origin.tag.encode()) + moment + _table(record)


def _table(values: Mapping[str, str | bytes]) -> bytes:
    head = (
        bytes((0x80 | len(values),))
        if len(values) < 16
        else b"\xde" + struct.pack(">H", len(values))
    )
    return head + b"".join(
        _text(name.encode()) + _text(value if isinstance(value, bytes) else value.encode())
        for name, value in values.items()
    )


def _text(data: bytes) -> bytes:
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    if size < 1 << 8:
        return b"\xd9" + bytes((size,)) + data
    if size < 1 << 16:
        return b"\xda" + struct.pack(">H", size) + data
    return b"\xdb" + struct.pack(">I", size) + data
