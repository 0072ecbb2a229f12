"""Learns, while a layer's bytes pass by, what it unpacks to: nothing of it is kept."""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci.compression import Decompressor, kind_of

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_MAX_META = 1 << 20
_WITHOUT_CONTENT = b"123456"


@dataclass(frozen=True)
class LayerFacts:
    """What a layer's blob unpacks to."""

    diff_id: str
    tar_bytes: int
    """The length of the uncompressed archive."""
    diff_bytes: int
    """The sum of the members' sizes: a layer's size in Docker's words."""


class _TarWalk:
    """Sums up the members' sizes of an archive that comes in pieces."""

    def __init__(self) -> None:
        self.total = 0
        self.is_done = False
        self._buffer = bytearray()
        self._skip = 0
        self._steps = self._walk()
        self._wanted = next(self._steps)

    def feed(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            InvalidArgumentError: If this is no archive.
        """
        position = 0
        while not self.is_done and position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            missing = self._wanted - len(self._buffer)
            piece = data[position : position + missing]
            position += len(piece)
            self._buffer += piece
            if len(self._buffer) == self._wanted:
                block, self._buffer = bytes(self._buffer), bytearray()
                try:
                    self._wanted = self._steps.send(block)
                except StopIteration:
                    self.is_done = True

    def _walk(self) -> Generator[int, bytes, None]:
        size_of_next: int | None = None
        while True:
            header = yield _BLOCK
            if header == _EMPTY:
                return
            size = _number(header[124:136])
            kind = header[156:157]
            _check(header)
            if kind == b"x":
                if size > _MAX_META:
                    raise InvalidArgumentError("archive/tar: header field too long")
                content = yield size + (-size % _BLOCK)
                size_of_next = _pax_size(content[:size])
                continue
            if kind not in b"gLK":
                size = size if size_of_next is None else size_of_next
                size_of_next = None
                if size < 0:
                    raise InvalidArgumentError("archive/tar: invalid tar header")
                self.total += size
            if kind not in _WITHOUT_CONTENT:
                self._skip = size + (-size % _BLOCK)


class LayerProbe:
    """Takes a blob's bytes and tells at the end whether it was a layer, and which."""

    def __init__(self) -> None:
        """Start without knowing anything."""
        self._decompressor = Decompressor()
        self._walk = _TarWalk()
        self._sha = hashlib.sha256()
        self._length = 0
        self._started = False
        self._is_layer = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        if not self._started and data:
            self._started = True
            self._is_layer = _may_be_layer(data)
        if self._is_layer:
            try:
                for piece in self._decompressor.feed(data):
                    self._take(piece)
            except InvalidArgumentError:
                self._is_layer = False

    def finish(self) -> LayerFacts | None:
        """Return what the layer is, or None if it is none."""
        if not self._is_layer or not self._started:
            return None
        try:
            for piece in self._decompressor.finish():
                self._take(piece)
        except InvalidArgumentError:
            return None
        return LayerFacts("sha256:" + self._sha.hexdigest(), self._length, self._walk.total)

    def _take(self, piece: bytes) -> None:
        self._sha.update(piece)
        self._length += len(piece)
        self._walk.feed(piece)


def _may_be_layer(start: bytes) -> bool:
    return bool(kind_of(start)) or start[257:262] == b"ustar" or start[:_BLOCK] == _EMPTY


def _number(value: bytes) -> int:
    if value[0] & 0x80:
        return int.from_bytes(value, "big") & ((1 << (8 * len(value) - 1)) - 1)
    digits = value.strip(b"\0 ").partition(b"\0")[0]
    try:
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise InvalidArgumentError("archive/tar: invalid tar header") from error


def _check(header: bytes) -> None:
    if sum(header) - sum(header[148:156]) + 256 != _number(header[148:156]):
        raise InvalidArgumentError("archive/tar: invalid tar header")


def _pax_size(content: bytes) -> int | None:
    size = None
    for record in content.split(b"\n"):
        if record.partition(b" ")[2].startswith(b"size="):
            try:
                size = int(record.rpartition(b"=")[2])
            except ValueError as error:
                raise InvalidArgumentError("archive/tar: invalid tar header") from error
    return size
