"""Decompression of layer streams: gzip (any number of members), zstandard, bzip2, xz, or none."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from flotilla_core.errors import InvalidArgumentError

_GZIP_OR_ZLIB = 31
_PART_BYTES = 1 << 20


class _Inner(Protocol):
    """What zlib, zstandard, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Whole:
    """zlib's and zstandard's, which yield all that a piece comes to.

    That is at most 64 MiB of a piece with zlib; zstandard grows thirty times as much and gets
    smaller pieces.
    """

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /) -> Iterator[bytes]:
        yield self._inner.decompress(data)


class _Limited(_Whole):
    """bz2's and lzma's, whose output is taken in parts: they grow without bounds."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        super().__init__(inner)
        self._limited = inner

    def decompress(self, data: bytes, /) -> Iterator[bytes]:
        yield self._limited.decompress(data, _PART_BYTES)
        while not (self._limited.eof or self._limited.needs_input):
            yield self._limited.decompress(b"", _PART_BYTES)


@dataclass(frozen=True)
class _Kind:
    """A form of compression.

    Attributes:
        piece_bytes: What is decompressed at once: even a hostile stream then yields at most some
            64 MiB.
    """

    name: str
    magic: bytes
    make: Callable[[], _Whole]
    piece_bytes: int


_KINDS = (
    _Kind("gzip", b"\x1f\x8b", lambda: _Whole(zlib.decompressobj(_GZIP_OR_ZLIB)), 64 << 10),
    _Kind(
        "zstd",
        b"\x28\xb5\x2f\xfd",
        lambda: _Whole(zstandard.ZstdDecompressor().decompressobj()),
        2 << 10,
    ),
    _Kind("bzip2", b"BZh", lambda: _Limited(bz2.BZ2Decompressor()), 64 << 10),
    _Kind("xz", b"\xfd7zXZ\x00", lambda: _Limited(lzma.LZMADecompressor()), 64 << 10),
)
_LONGEST_MAGIC = max(len(kind.magic) for kind in _KINDS)


def kind_of(start: bytes) -> str:
    """Name the compression by a stream's first bytes; the empty text if there is none."""
    if start[:4] in {bytes([0x50 + i, 0x2A, 0x4D, 0x18]) for i in range(16)}:
        return "zstd"
    return next((kind.name for kind in _KINDS if start.startswith(kind.magic)), "")


class Decompressor:
    """Turns a compressed stream into a plain one, piece by piece; finds the kind by itself."""

    def __init__(self) -> None:
        """Make one for a stream of an unknown kind."""
        self._head = b""
        self._kind: _Kind | None = None
        self._inner: _Whole | None = None
        self._behind = b""
        self._started = False
        self.kind = ""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes decompress to.

        Raises:
            InvalidArgumentError: If the stream is damaged.
        """
        if not self._started:
            data = self._head + data
            if len(data) < _LONGEST_MAGIC:
                self._head = data
                return
            self._start(data)
        yield from self._pass(data)

    def finish(self) -> Iterator[bytes]:
        """Yield what is left at the stream's end.

        Raises:
            InvalidArgumentError: If the stream ends too early.
        """
        if not self._started:
            self._start(self._head)
            yield from self._pass(self._head)
        if self._inner is not None and not self._inner.eof:
            raise InvalidArgumentError("unexpected EOF")

    def _start(self, head: bytes) -> None:
        self._started = True
        self.kind = kind_of(head)
        self._kind = next((kind for kind in _KINDS if kind.name == self.kind), None)
        self._inner = self._kind.make() if self._kind else None

    def _pass(self, data: bytes) -> Iterator[bytes]:
        if self._kind is None or self._inner is None:
            if data:
                yield data
            return
        data, self._behind = self._behind + data, b""
        position = 0
        while position < len(data):
            if self._inner.eof:
                start = data[position : position + _LONGEST_MAGIC]
                if len(start) < _LONGEST_MAGIC:
                    self._behind = start  # another member, perhaps
                    return
                if not kind_of(start):  # padding after the last member
                    return
                self._inner = self._kind.make()
            piece = data[position : position + self._kind.piece_bytes]
            try:
                yield from filter(None, self._inner.decompress(piece))
            except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
                raise InvalidArgumentError(f"damaged {self.kind} stream: {error}") from error
            position += len(piece) - (len(self._inner.unused_data) if self._inner.eof else 0)


def decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the plain content of a stream."""
    decompressor = Decompressor()
    for chunk in chunks:
        yield from decompressor.feed(chunk)
    yield from decompressor.finish()
