"""A queue of lines on disk, in segments: what was added outlives the process until it is done."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SEGMENT_BYTES = 1024 * 1024
SEGMENTS_AT_MOST = 256

_READ_BYTES = 256 * 1024


@dataclass(frozen=True, order=True)
class Position:
    """A place in the spool; places only grow, also when what lies before them is dropped."""

    segment: int
    offset: int


class Spool:
    """Lines are added at the end, read from the front, and dropped when done.

    Adding is one write(2), without fsync: it survives the death of the process, not of the host's
    power. Lines hold no newline.
    """

    def __init__(self, folder: Path) -> None:
        """Open the spool in a folder, with what an earlier process left there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segments = sorted(int(path.stem) for path in folder.glob("*.lines"))
        self._file = -1
        self._size = 0
        self._cut = 0
        # A torn last line of an earlier process stays alone at the end of its segment.
        self._next_segment()
        self._done = Position(self._segments[0], 0)

    @property
    def begin(self) -> Position:
        """Where the first line that is not done begins."""
        return self._done

    @property
    def end(self) -> Position:
        """Where the next line will be written."""
        return Position(self._segments[-1], self._cut + self._size)

    @property
    def is_empty(self) -> bool:
        """Whether all lines are done."""
        return self._done == self.end

    def add(self, line: bytes) -> None:
        """Add a line at the end.

        Raises:
            OSError: If the disk does not take it; the lines before it stay.
        """
        if self._size >= SEGMENT_BYTES:
            self._next_segment()
        if os.write(self._file, line + b"\n") <= len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        self._size += len(line) + 1

    def read(self, start: Position, limit: int) -> tuple[list[bytes], Position]:
        """Return up to that many lines from a position on, and the position behind them."""
        lines: list[bytes] = []
        position = max(start, self._done)
        for segment in [one for one in self._segments if one >= position.segment]:
            offset = position.offset if segment == position.segment else 0
            cut = self._cut if segment == self._segments[-1] else 0
            for line in self._lines(segment, offset - cut):
                offset += len(line) + 1
                lines.append(line)
                if len(lines) == limit:
                    return lines, Position(segment, offset)
            position = Position(segment, offset)
        return lines, position

    def done(self, position: Position) -> None:
        """Drop all lines before a position."""
        self._done = max(self._done, position)
        if self._done == self.end:
            os.ftruncate(self._file, 0)
            self._cut += self._size
            self._size = 0
        while self._segments[0] < self._done.segment:
            self._path(self._segments.pop(0)).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; the lines stay."""
        os.close(self._file)

    def _lines(self, segment: int, offset: int) -> Iterator[bytes]:
        """Yield the complete lines of a segment."""
        try:
            file = self._path(segment).open("rb", buffering=_READ_BYTES)
        except FileNotFoundError:
            return
        with file:
            file.seek(offset)
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def _next_segment(self) -> None:
        number = self._segments[-1] + 1 if self._segments else 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        opened = os.open(self._path(number), flags, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file = opened
        self._segments.append(number)
        self._size = self._cut = 0
        while len(self._segments) > SEGMENTS_AT_MOST:
            log.warning("the spool in %s is full: its oldest lines are dropped", self._folder)
            oldest = self._segments.pop(0)
            self._path(oldest).unlink(missing_ok=True)
            self._done = max(self._done, Position(self._segments[0], 0))

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:012d}.lines"
