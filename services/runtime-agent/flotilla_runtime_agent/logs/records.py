"""conmon's log format: one record per line, ``TIME STREAM F|P CONTENT``; no I/O here.

``F`` ends a line of the process, ``P`` is a part of one. Times are in UTC with nine digits, so
that everything before the content has a fixed width and lines need no parsing. Parts are passed
on as they come; lines of any length need no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

STREAMS = {b"stdout": 1, b"stderr": 2}
_TIME_WIDTH = 29  # without the offset: 2026-01-02T03:04:05.123456789
_STREAM_AT = 36
_FLAG_AT = 43
_CONTENT_AT = 45
_OUT, _ERR = b"stdout F ", b"stderr F "


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

    def render(self, chunk: bytes) -> bytes:
        """Render records; the chunk ends with a newline."""
        lines = chunk.split(b"\n")
        lines.pop()
        if self.since:
            if lines[-1][:_TIME_WIDTH] < self.since:
                return b""
            if lines[0][:_TIME_WIDTH] >= self.since:
                self.since = b""
        is_past = bool(self.until) and lines[-1][:_TIME_WIDTH] > self.until
        if not (self.details or self.since or self._inside or is_past):
            kinds = {line[_STREAM_AT:_CONTENT_AT] for line in lines}
            if kinds <= {_OUT, _ERR}:
                return self._whole_lines(lines, is_mixed=len(kinds) > 1)
        return b"".join(self._one_by_one(lines))

    def _whole_lines(self, lines: list[bytes], *, is_mixed: bool) -> bytes:
        """Render lines that have no parts; neighbours of one stream share a frame."""
        if not is_mixed:
            return self._run(lines)
        runs = groupby(lines, key=_stream_of)
        return b"".join([self._run(list(run)) for _, run in runs])

    def _run(self, lines: list[bytes]) -> bytes:
        stream = STREAMS[_stream_of(lines[0])]
        if not (self.stdout if stream == 1 else self.stderr):
            return b""
        if self.timestamps:
            contents = [b"%bZ %b" % (line[:_TIME_WIDTH], line[_CONTENT_AT:]) for line in lines]
        else:
            contents = [line[_CONTENT_AT:] for line in lines]
        contents.append(b"")
        payload = b"\n".join(contents)
        return frame(stream, payload) if self.mux else payload

    def _one_by_one(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            record = parse(line)
            if record is None or record.time < self.since:
                continue
            if self.until and record.time > self.until:
                self.is_past = True
                return
            is_first = record.stream not in self._inside
            if record.is_partial:
                self._inside.add(record.stream)
            else:
                self._inside.discard(record.stream)
            if self.stdout if record.stream == 1 else self.stderr:
                payload = self._payload(record, is_first=is_first)
                yield frame(record.stream, payload) if self.mux else payload

    def _payload(self, record: LogRecord, *, is_first: bool) -> bytes:
        end = b"" if record.is_partial else b"\n"
        if not is_first:
            return record.content + end
        stamp = record.time + b"Z " if self.timestamps else b""
        return stamp + self.details + record.content + end
