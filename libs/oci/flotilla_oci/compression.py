"""Decompression of layer streams: gzip (any number of members), zstandard, bzip2, xz, or none."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import zstandard

from flotilla_core.errors import InvalidArgumentError

_PIECE_BYTES = 64 << 10
"""What is decompressed at once: even a hostile stream then yields at most some 64 MiB."""

_GZIP_OR_ZLIB = 31


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class _Zstd:
    """zstandard's decompressor in the form of zlib's."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, /) -> bytes:
        return self._inner.decompress(data)


_KINDS: tuple[tuple[str, bytes, Callable[[], _Decompressor]], ...] = (
    ("gzip", b"\x1f\x8b", lambda: zlib.decompressobj(_GZIP_OR_ZLIB)),
    ("zstd", b"\x28\xb5\x2f\xfd", _Zstd),
    ("bzip2", b"BZh", bz2.BZ2Decompressor),
    ("xz", b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)


def kind_of(start: bytes) -> str:
    """Name the compression by a stream's first bytes; the empty text if there is none."""
    if start[:4] in {bytes([0x50 + i, 0x2A, 0x4D, 0x18]) for i in range(16)}:
        return "zstd"
    return next((name for name, magic, _ in _KINDS if start.startswith(magic)), "")


class Decompressor:
    """Turns a compressed stream into a plain one, piece by piece; finds the kind by itself."""

    def __init__(self) -> None:
        """Make one for a stream of an unknown kind."""
        self._head = b""
        self._make: Callable[[], _Decompressor] | None = None
        self._inner: _Decompressor | None = None
        self._started = False
        self.kind = ""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes decompress to.

        Raises:
            InvalidArgumentError: If the stream is damaged.
        """
        if not self._started:
            data = self._head + data
            if len(data) < len(_KINDS[-1][1]):
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
        self._make = next((make for name, _, make in _KINDS if name == self.kind), None)
        self._inner = self._make() if self._make else None

    def _pass(self, data: bytes) -> Iterator[bytes]:
        if self._make is None or self._inner is None:
            if data:
                yield data
            return
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            while piece:
                if self._inner.eof:
                    if not kind_of(piece):  # padding after the last member
                        return
                    self._inner = self._make()
                try:
                    result = self._inner.decompress(piece)
                except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError) as error:
                    raise InvalidArgumentError(f"damaged {self.kind} stream: {error}") from error
                if result:
                    yield result
                piece = self._inner.unused_data if self._inner.eof else b""


def decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the plain content of a stream."""
    decompressor = Decompressor()
    for chunk in chunks:
        yield from decompressor.feed(chunk)
    yield from decompressor.finish()
