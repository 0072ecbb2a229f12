"""The frames of a stream, the same over NATS and over a direct connection; no I/O.

A frame is a kind, two numbers whose meaning depends on the kind, and a payload. Offsets count the
bytes of one direction from its start, so a frame that comes twice or is missing is noticed.
"""

from __future__ import annotations

import struct
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
    payload: bytes = b""


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


class DirectDecoder:
    """Cuts the bytes of a direct connection into frames.

    The socket's bytes are received straight into ``space()``; ``received()`` then returns the
    frames that are complete. The buffer is small until a large frame comes.
    """

    _SMALL_BYTES = 8 * 1024
    _LARGE_BYTES = 2 * (DIRECT_CHUNK_BYTES + DIRECT_HEAD_BYTES)

    def __init__(self) -> None:
        """Start with nothing received."""
        self._buffer = bytearray(self._SMALL_BYTES)
        self._filled = 0

    def space(self) -> memoryview:
        """Return the free part of the buffer; never empty."""
        return memoryview(self._buffer)[self._filled :]

    def received(self, size: int) -> list[Frame]:
        """Take note of bytes written into the space, and return the frames now complete.

        Raises:
            ValueError: If the other side does not speak this protocol.
        """
        self._filled += size
        frames: list[Frame] = []
        start = 0
        view = memoryview(self._buffer)
        while self._filled - start >= DIRECT_HEAD_BYTES:
            length, kind, a, b = _DIRECT_HEAD.unpack_from(view, start)
            if length > DIRECT_CHUNK_BYTES:
                raise ValueError("a frame is too long")
            end = start + DIRECT_HEAD_BYTES + length
            if end > self._filled:
                break
            payload = bytes(view[start + DIRECT_HEAD_BYTES : end])
            frames.append(Frame(FrameKind(kind), a, b, payload))
            start = end
        self._keep(view, start)
        return frames

    def _keep(self, view: memoryview, start: int) -> None:
        """Move what is left of an incomplete frame to the front, with room for all of it."""
        left = self._filled - start
        if left > self._SMALL_BYTES // 2 and len(self._buffer) == self._SMALL_BYTES:
            larger = bytearray(self._LARGE_BYTES)
            larger[:left] = view[start : self._filled]
            self._buffer = larger
        elif start:
            view[:left] = bytes(view[start : self._filled])
        self._filled = left
