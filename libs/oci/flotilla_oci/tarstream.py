"""Reads a tar archive from a stream: ustar, GNU and pax; fast, nothing on disk, no seeking."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from flotilla_core.errors import InvalidArgumentError

_BLOCK = 512
_EMPTY = bytes(_BLOCK)
_MAX_META = 1 << 20
_XATTR = "SCHILY.xattr."

REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"


@dataclass(slots=True)
class Entry:
    """One member of the archive; its content follows in the stream."""

    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    link: str
    device: tuple[int, int]
    xattrs: dict[str, bytes] = field(default_factory=dict)


class ByteReader:
    """Exact reads from an iterator of chunks."""

    def __init__(self, chunks: Iterator[bytes | bytearray | memoryview]) -> None:
        """Read from the chunks."""
        self._chunks = chunks
        self._chunk: bytes | bytearray | memoryview = b""
        self._position = 0

    def some(self, most: int) -> memoryview | bytes:
        """Return up to `most` bytes, nothing at the end."""
        while self._position >= len(self._chunk):
            following = next(self._chunks, None)
            if following is None:
                return b""
            self._chunk, self._position = following, 0
        start = self._position
        self._position = min(len(self._chunk), start + most)
        return memoryview(self._chunk)[start : self._position]

    def exactly(self, count: int) -> bytes:
        """Return just so many bytes, or nothing if the stream is at its end.

        Raises:
            InvalidArgumentError: If the stream ends inside.
        """
        start = self._position
        if len(self._chunk) - start >= count:
            self._position = start + count
            return bytes(self._chunk[start : start + count])
        parts: list[bytes] = []
        missing = count
        while missing:
            part = self.some(missing)
            if not part:
                if missing == count:
                    return b""
                raise InvalidArgumentError("unexpected EOF")
            parts.append(bytes(part))
            missing -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end."""
        self._chunk, self._position = b"", 0
        for _ in self._chunks:
            pass


class TarReader:
    """Iterates over an archive's members."""

    def __init__(self, chunks: Iterator[bytes | bytearray | memoryview]) -> None:
        """Read the archive from these plain chunks."""
        self._bytes = ByteReader(chunks)
        self._left = 0
        self._padding = 0
        self._global: dict[str, str | bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        """Yield the members in their order; what was not read of a content is skipped."""
        pax: dict[str, str | bytes] = {}
        while (header := self._next_header()) is not None:
            kind = chr(header[156])
            size = _length(header[124:136])
            if kind in "xgLK":
                content = self._meta(size)
                match kind:
                    case "x":
                        pax |= _pax_records(content)
                    case "g":
                        self._global |= _pax_records(content)
                    case "L":
                        pax["path"] = _text(content)
                    case "K":
                        pax["linkpath"] = _text(content)
                continue
            entry = _entry(header, kind, size, self._global | pax if self._global else pax)
            pax = {}
            has_content = entry.kind not in (HARD_LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO)
            self._left = entry.size if has_content else 0
            self._padding = -self._left % _BLOCK
            yield entry

    def content(self) -> Iterator[memoryview | bytes]:
        """Yield the content of the member that was yielded last.

        Raises:
            InvalidArgumentError: If the archive is cut off.
        """
        while self._left:
            part = self._bytes.some(self._left)
            if not part:
                raise InvalidArgumentError("unexpected EOF")
            self._left -= len(part)
            yield part

    def read(self, limit: int) -> bytes:
        """Return the whole content of the member that was yielded last.

        Raises:
            InvalidArgumentError: If it is larger than the limit.
        """
        if self._left > limit:
            raise InvalidArgumentError("archive member too large")
        return b"".join(bytes(part) for part in self.content())

    def drain(self) -> None:
        """Read what follows the archive, so that a digest of the stream is of all of it."""
        self._bytes.drain()

    def _next_header(self) -> bytes | None:
        for _ in self.content():
            pass
        if self._padding:
            self._bytes.exactly(self._padding)
            self._padding = 0
        header = self._bytes.exactly(_BLOCK)
        if not header or header == _EMPTY:
            return None
        expected = _number(header[148:156])
        if sum(header) - sum(header[148:156]) + 256 != expected:
            raise InvalidArgumentError("archive/tar: invalid tar header")
        return header

    def _meta(self, size: int) -> bytes:
        if size > _MAX_META:
            raise InvalidArgumentError("archive/tar: header field too long")
        content = self._bytes.exactly(size) if size else b""
        if size % _BLOCK:
            self._bytes.exactly(-size % _BLOCK)
        return content


def _entry(header: bytes, kind: str, size: int, pax: dict[str, str | bytes]) -> Entry:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    entry = Entry(
        name=name,
        kind=REGULAR if kind in "\0007" else kind,
        mode=_number(header[100:108]) & 0o7777,
        uid=_number(header[108:116]),
        gid=_number(header[116:124]),
        size=size,
        mtime=_number(header[136:148]),
        link=_text(header[157:257]),
        device=(_number(header[329:337]), _number(header[337:345]))
        if kind in (CHARACTER, BLOCK)
        else (0, 0),
    )
    if pax:
        _apply_pax(entry, pax)
    if entry.kind == REGULAR and entry.name.endswith("/"):
        entry.kind = DIRECTORY
    return entry


def _apply_pax(entry: Entry, pax: dict[str, str | bytes]) -> None:
    for key, value in pax.items():
        if isinstance(value, bytes):
            entry.xattrs[key.removeprefix(_XATTR)] = value
            continue
        try:
            match key:
                case "path":
                    entry.name = value
                case "linkpath":
                    entry.link = value
                case "size":
                    entry.size = _not_negative(int(value))
                case "uid":
                    entry.uid = int(value)
                case "gid":
                    entry.gid = int(value)
                case "mtime":
                    entry.mtime = float(value)
        except ValueError as error:
            raise InvalidArgumentError("archive/tar: invalid tar header") from error


def _pax_records(content: bytes) -> dict[str, str | bytes]:
    records: dict[str, str | bytes] = {}
    position = 0
    try:
        while position < len(content) and content[position]:
            space = content.index(b" ", position)
            end = position + int(content[position:space])
            if end <= space or content[end - 1 : end] != b"\n":
                raise ValueError("record length")
            key, _, value = content[space + 1 : end - 1].partition(b"=")
            name = key.decode("utf-8", "surrogateescape")
            records[name] = (
                value if name.startswith(_XATTR) else value.decode("utf-8", "surrogateescape")
            )
            position = end
    except ValueError as error:
        raise InvalidArgumentError("archive/tar: invalid tar header") from error
    return records


def _text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _length(value: bytes) -> int:
    return _not_negative(_number(value))


def _not_negative(length: int) -> int:
    if length < 0:
        raise InvalidArgumentError("archive/tar: invalid tar header")
    return length


def _number(value: bytes) -> int:
    if value[0] & 0x80:  # GNU base-256
        number = int.from_bytes(value, "big") & ((1 << (8 * len(value) - 1)) - 1)
        return number - (1 << (8 * len(value) - 1)) if value[0] & 0x40 else number
    digits = value.strip(b"\0 ")
    if not digits:
        return 0
    try:
        return int(digits.partition(b"\0")[0], 8)
    except ValueError as error:
        raise InvalidArgumentError("archive/tar: invalid tar header") from error
