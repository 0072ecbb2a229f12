"""conmon's log format: one record per line, ``TIME STREAM F|P CONTENT``; no I/O here.

``F`` ends a line of the process, ``P`` is a part of one. Times are in UTC with nine digits, so
that everything before the content has a fixed width and lines need no parsing. The parts of a
line are held until it is whole, as nothing of the other stream may come between them, but not for
longer than dockerd does: lines of any length need no memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

STREAMS = {b"stdout": 1, b"stderr": 2}
_TIME_WIDTH = 29  # without the offset: 2026-01-02T03:04:05.123456789
_STREAM_AT = 36
_FLAG_AT = 43
_CONTENT_AT = 45
_HELD_BYTES = 16 * 1024
_PARTS = {b"stdout P ", b"stderr P "}
_KINDS = {b"stdout F ", b"stderr F ", *_PARTS}


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record; ``content`` is without the newline that ended it."""

    time: bytes  # 2026-01-02T03:04:05.123456789
    stream: int  # 1 out, 2 err
    is_partial: bool
    content: bytes


def parse(line: bytes) -> LogRecord | None:
    """Parse one record without its newline; None if it is none (a torn write)."""
    stream = STREAMS.get(line[_STREAM_AT : _STREAM_AT + 6])
    if stream is None or len(line) < _CONTENT_AT:
        return None
    return LogRecord(
        line[:_TIME_WIDTH], stream, line[_FLAG_AT : _FLAG_AT + 1] == b"P", line[_CONTENT_AT:]
    )


def time_ns(stamp: bytes) -> int:
    """Return a record's time as nanoseconds since the epoch."""
    whole = datetime.fromisoformat(stamp[:19].decode()).replace(tzinfo=UTC)
    return int(whole.timestamp()) * 1_000_000_000 + int(stamp[20:29])


def stamp_of(nanoseconds: int) -> bytes:
    """Return the time as records have it, so that stamps can be compared as bytes."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}".encode()


def _stream_of(line: bytes) -> bytes:
    return line[_STREAM_AT : _STREAM_AT + 6]


def frame(stream: int, payload: bytes) -> bytes:
    """Frame as the Engine API multiplexes streams."""
    return struct.pack(">BxxxI", stream, len(payload)) + payload


@dataclass
class Renderer:
    """Turns chunks of whole records into what a client gets.

    Attributes:
        mux: Whether output is framed by stream.
        since: Earliest stamp, empty for all.
        until: Latest stamp, empty for all; ``is_past`` tells when one later was seen.
        details: What goes before each line, blank included.
    """

    mux: bool = True
    stdout: bool = True
    stderr: bool = True
    timestamps: bool = False
    details: bytes = b""
    since: bytes = b""
    until: bytes = b""
    is_past: bool = False
    _inside: set[int] = field(default_factory=set)  # streams that are within a line
    _open: dict[bytes, bytes] = field(default_factory=dict)  # by stream, parts that are held

    def render(self, chunk: bytes) -> bytes:
        """Render records; the chunk ends with a newline."""
        lines = chunk.split(b"\n")
        lines.pop()
        kinds = {line[_STREAM_AT:_CONTENT_AT] for line in lines}
        if not kinds <= _KINDS:  # something torn
            lines = [line for line in lines if line[_STREAM_AT:_CONTENT_AT] in _KINDS]
        if self._open or not kinds.isdisjoint(_PARTS):
            lines = self._joined(lines)
            kinds = {line[_STREAM_AT:_CONTENT_AT] for line in lines}
        return self._rendered(lines, kinds)

    def finish(self) -> bytes:
        """Render what was held: no more can come."""
        lines, self._open = list(self._open.values()), {}
        return self._rendered(lines, {line[_STREAM_AT:_CONTENT_AT] for line in lines})

    def _joined(self, lines: list[bytes]) -> list[bytes]:
        """Put parts before what follows them; the time is that of the first part."""
        joined = []
        for line in lines:
            stream = _stream_of(line)
            if head := self._open.pop(stream, b""):
                kind, content = line[_FLAG_AT:_CONTENT_AT], line[_CONTENT_AT:]
                line = b"%b%b%b%b" % (head[:_FLAG_AT], kind, head[_CONTENT_AT:], content)
            if line[_FLAG_AT : _FLAG_AT + 1] == b"P" and len(line) < _HELD_BYTES:
                self._open[stream] = line
            else:
                joined.append(line)
        return joined

    def _rendered(self, lines: list[bytes], kinds: set[bytes]) -> bytes:
        lines = self._within(lines)
        if not lines:
            return b""
        has_parts = not kinds.isdisjoint(_PARTS)
        if len({kind[:6] for kind in kinds & _KINDS}) == 1:
            return self._run(lines, has_parts=has_parts)
        runs = groupby(lines, key=_stream_of)
        return b"".join([self._run(list(run), has_parts=has_parts) for _, run in runs])

    def _within(self, lines: list[bytes]) -> list[bytes]:
        """Keep what is between ``since`` and ``until``."""
        if self.since and lines:
            if lines[0][:_TIME_WIDTH] >= self.since:
                self.since = b""
            else:
                lines = [line for line in lines if line[:_TIME_WIDTH] >= self.since]
        if self.until and lines and lines[-1][:_TIME_WIDTH] > self.until:
            self.is_past = True
            return [line for line in lines if line[:_TIME_WIDTH] <= self.until]
        return lines

    def _run(self, lines: list[bytes], *, has_parts: bool) -> bytes:
        """Render neighbours of one stream; they share a frame."""
        stream = STREAMS[_stream_of(lines[0])]
        is_wanted = self.stdout if stream == 1 else self.stderr
        pieces = []
        for block in _blocks(lines) if has_parts else [lines]:
            is_open = block[-1][_FLAG_AT : _FLAG_AT + 1] == b"P"
            if is_wanted:
                pieces.append(self._block(block, stream, is_open=is_open))
            if is_open:
                self._inside.add(stream)
            else:
                self._inside.discard(stream)
        payload = b"".join(pieces)
        return frame(stream, payload) if self.mux and payload else payload

    def _block(self, lines: list[bytes], stream: int, *, is_open: bool) -> bytes:
        """Render lines of which only the last one may be a part."""
        if self.timestamps:
            more = b"Z " + self.details
            contents = [
                b"%b%b%b" % (line[:_TIME_WIDTH], more, line[_CONTENT_AT:]) for line in lines
            ]
        elif self.details:
            contents = [self.details + line[_CONTENT_AT:] for line in lines]
        else:
            contents = [line[_CONTENT_AT:] for line in lines]
        if stream in self._inside:
            contents[0] = lines[0][_CONTENT_AT:]
        if not is_open:
            contents.append(b"")
        return b"\n".join(contents)


def _blocks(lines: list[bytes]) -> list[list[bytes]]:
    """Cut lines after each part."""
    blocks, start = [], 0
    for number, line in enumerate(lines):
        if line[_FLAG_AT : _FLAG_AT + 1] == b"P":
            blocks.append(lines[start : number + 1])
            start = number + 1
    if start < len(lines):
        blocks.append(lines[start:])
    return blocks
