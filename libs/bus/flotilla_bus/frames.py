"""The frames of a stream, the same over NATS and over a direct connection; no I/O.

A frame is a kind, two numbers whose meaning depends on the kind, and a payload. Offsets count the
bytes of one direction from its start, so a frame that comes twice or is missing is noticed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

CHUNK_BYTES = 128 * 1024
"""The most payload of one frame over NATS."""

DIRECT_CHUNK_BYTES = 256 * 1024
"""The most payload of one frame over a direct connection."""

_HEAD = struct.Struct(">BQQ")
_DIRECT_HEAD = struct.Struct(">IBQQ")
DIRECT_HEAD_BYTES = _DIRECT_HEAD.size


class FrameKind(IntEnum):
    """What a frame says; ``a`` and ``b`` are its two numbers."""

    DATA = 1  # payload, which starts at offset a
    EOF = 2  # this direction ends at offset a
    CREDIT = 3  # data up to offset a may be sent; all before offset b has arrived
    PING = 4  # sent up to offset a; b is 1 when the direction ended there
    MISSING = 5  # nothing after offset a has arrived: send again from there
    CLOSE = 6  # as PING, and the sender's application is gone; the payload is an error or empty
    CLOSED = 7  # a CLOSE has arrived with all before it
    HELLO = 8  # first on a direct connection: the payload is its token
    WELCOME = 9  # the token was right


class Frame(NamedTuple):
    """A frame, decoded."""

    kind: FrameKind
    a: int = 0
    b: int = 0
    payload: bytes | bytearray = b""


def encode(frame: Frame) -> bytes:
    """Return the frame as the payload of a NATS message."""
    return _HEAD.pack(frame.kind, frame.a, frame.b) + frame.payload


def decode(message: bytes) -> Frame:
    """Return the frame in a NATS message.

    Raises:
        ValueError: If it is none.
    """
    try:
        kind, a, b = _HEAD.unpack_from(message)
    except struct.error as error:
        raise ValueError("a frame is too short") from error
    return Frame(FrameKind(kind), a, b, message[_HEAD.size :])


def direct_head(frame: Frame) -> bytes:
    """Return what stands before the payload on a direct connection."""
    return _DIRECT_HEAD.pack(len(frame.payload), frame.kind, frame.a, frame.b)


def direct_data(offset: int, parts: Sequence[memoryview]) -> list[bytes | memoryview]:
    """Return a frame of data in pieces, for a direct connection, without a copy."""
    size = sum(map(len, parts))
    return [_DIRECT_HEAD.pack(size, FrameKind.DATA, offset, 0), *parts]


def parse_direct_head(head: bytes | memoryview, start: int = 0) -> tuple[int, Frame]:
    """Return how long the payload of a frame is, and the frame without it.

    Raises:
        ValueError: If the other side does not speak this protocol.
    """
    length, kind, a, b = _DIRECT_HEAD.unpack_from(head, start)
    if length > DIRECT_CHUNK_BYTES:
        raise ValueError("a frame is too long")
    return length, Frame(FrameKind(kind), a, b)


class DirectDecoder:
    """Cuts the bytes of a direct connection into frames.

    The socket's bytes are received straight into ``space()``; ``received()`` then returns the
    frames that are complete. Small frames come by way of a small buffer. The rest of a large one
    is received into its payload, which nobody else holds.
    """

    _SMALL_BYTES = 8 * 1024

    def __init__(self) -> None:
        """Start with nothing received."""
        self._buffer = bytearray(self._SMALL_BYTES)
        self._filled = 0
        self._large: Frame | None = None
        self._payload = bytearray()
        self._payload_filled = 0

    def space(self) -> memoryview:
        """Return where to receive; never empty."""
        if self._large is not None:
            return memoryview(self._payload)[self._payload_filled :]
        return memoryview(self._buffer)[self._filled :]

    def received(self, size: int) -> list[Frame]:
        """Take note of bytes written into the space, and return the frames now complete.

        Raises:
            ValueError: If the other side does not speak this protocol.
        """
        if self._large is None:
            self._filled += size
            return self._small_frames()
        self._payload_filled += size
        if self._payload_filled < len(self._payload):
            return []
        frame, self._large = self._large, None
        is_data = frame.kind == FrameKind.DATA
        return [frame._replace(payload=self._payload if is_data else bytes(self._payload))]

    def taken(self) -> bytes:
        """Return what was received of a frame that is not complete, and forget it."""
        begun = bytes(self._buffer[: self._filled])
        if self._large is not None:
            head = _DIRECT_HEAD.pack(len(self._payload), *self._large[:3])
            begun = head + self._payload[: self._payload_filled]
        self._filled, self._large = 0, None
        return begun

    def _small_frames(self) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        view = memoryview(self._buffer)
        while self._filled - start >= DIRECT_HEAD_BYTES:
            length, frame = parse_direct_head(view, start)
            content = start + DIRECT_HEAD_BYTES
            end = content + length
            if end > self._filled:
                if DIRECT_HEAD_BYTES + length > self._SMALL_BYTES:
                    self._begin_large(frame, length, view[content : self._filled])
                    start = self._filled
                break
            frames.append(frame._replace(payload=bytes(view[content:end])))
            start = end
        if start:  # what is left of an incomplete frame moves to the front
            left = self._filled - start
            view[:left] = bytes(view[start : self._filled])
            self._filled = left
        return frames

    def _begin_large(self, frame: Frame, length: int, begun: memoryview) -> None:
        self._large = frame
        self._payload = bytearray(length)
        self._payload[: len(begun)] = begun
        self._payload_filled = len(begun)
