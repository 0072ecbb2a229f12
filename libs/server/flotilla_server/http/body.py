"""Request bodies: where they end, and what is in them, without a copy (RFC 9112, 6 and 7.1).

The HTTP parser reads heads only. Bodies are large and come in small chunks, so they are cut here
into views of what was received; no I/O.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol

LINE_LIMIT_BYTES = 4096
TRAILER_LIMIT_BYTES = 64 * 1024
OVERHEAD_LIMIT_BYTES = 16 * 1024

_OVERHEAD_PER_CHUNK = 16
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class BodyError(ValueError):
    """The body is not framed as HTTP says."""


class Body(Protocol):
    """A body that is being received."""

    ended: bool
    """Whether it has been received whole."""

    def take(self, data: bytes) -> tuple[list[memoryview], bytes]:
        """Return the parts of the body that are in the data, and what follows the body.

        Raises:
            BodyError: If the framing is broken.
        """
        ...


class SizedBody:
    """A body whose length was told beforehand."""

    def __init__(self, size: int) -> None:
        """Await so many bytes."""
        self._left = size
        self.ended = size == 0

    def take(self, data: bytes) -> tuple[list[memoryview], bytes]:
        """Return what belongs to the body, and what follows it."""
        view = memoryview(data)[: self._left]
        self._left -= len(view)
        self.ended = not self._left
        return [view], data[len(view) :]


class _Expected(Enum):
    SIZE = auto()
    END_OF_DATA = auto()
    TRAILER = auto()


class ChunkedBody:
    """A chunked body; extensions and trailers are checked and dropped.

    What surrounds the data is bounded, as Go's server bounds it: a client cannot keep us busy with
    tiny chunks that have long extensions.
    """

    def __init__(self) -> None:
        """Await the first chunk."""
        self.ended = False
        self._left = 0
        self._line = b""
        self._expected = _Expected.SIZE
        self._again = b""
        self._size = 0
        self._overhead = 0
        self._trailer_bytes = 0

    def take(self, data: bytes) -> tuple[list[memoryview], bytes]:
        """Return the chunks' data, and what follows the body.

        Raises:
            BodyError: If the framing is broken, or there is too much of it.
        """
        parts: list[memoryview] = []
        view = memoryview(data)
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                part = view[at : at + self._left]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif self._is_alike(data, at):
                self._left = self._size
                at += len(self._again)
            else:
                at = self._take_line(data, at)
        return parts, data[at:]

    def _is_alike(self, data: bytes, at: int) -> bool:
        """Tell whether a chunk ends here and one like it follows, as most do."""
        ends = self._expected is _Expected.END_OF_DATA and not self._line
        return ends and self._again != b"" and data.startswith(self._again, at)

    def _take_line(self, data: bytes, start: int) -> int:
        """Take a line, or the beginning of one, and return where it ends."""
        room = LINE_LIMIT_BYTES - len(self._line)
        end = data.find(b"\n", start, start + room)
        if end < 0:
            if len(data) - start >= room:
                raise BodyError("a line of the chunked body is too long")
            self._line += data[start:]
            return len(data)
        line = self._line + data[start:end]
        self._line = b""
        if not line.endswith(b"\r"):
            raise BodyError("a line of the chunked body ends without CR")
        self._on_line(line[:-1])
        return end + 1

    def _on_line(self, line: bytes) -> None:
        match self._expected:
            case _Expected.SIZE:
                self._on_size(line)
            case _Expected.END_OF_DATA:
                if line:
                    raise BodyError("a chunk is longer than it said")
                self._expected = _Expected.SIZE
            case _Expected.TRAILER:
                self._on_trailer(line)

    def _on_size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise BodyError("a chunk's size is malformed")
        self._left = int(found[1], 16)
        self._expected = _Expected.END_OF_DATA if self._left else _Expected.TRAILER
        allowed = _OVERHEAD_PER_CHUNK + 2 * self._left
        self._size = self._left
        self._again = b"\r\n" + line + b"\r\n" if self._left and len(line) < 10 else b""
        self._overhead = max(0, self._overhead + len(line) + 2 - allowed)
        if self._overhead > OVERHEAD_LIMIT_BYTES:
            raise BodyError("the chunked body has too much that is no data")

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self.ended = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > TRAILER_LIMIT_BYTES:
            raise BodyError("the trailer is too long")
        if _FIELD.fullmatch(line) is None:
            raise BodyError("a field of the trailer is malformed")


def joined(parts: list[memoryview]) -> bytes:
    """Return parts of a body in one piece, without a copy if they are one already."""
    if len(parts) == 1:
        whole = parts[0].obj
        if isinstance(whole, bytes) and len(whole) == len(parts[0]):
            return whole
    return b"".join(parts)
