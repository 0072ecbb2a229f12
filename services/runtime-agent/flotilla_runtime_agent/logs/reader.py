"""Reads a container's log as ``docker logs`` wants it: tail, times, follow, across rotations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import IO

from flotilla_runtime_agent.logs.files import LogFiles, size_of
from flotilla_runtime_agent.logs.records import Renderer, parse
from flotilla_runtime_agent.runtime.inotify import Inotify

_CHUNK = 512 * 1024
_FALLBACK_WAIT_S = 1.0
_REOPENING_S = 0.005


@dataclass(frozen=True)
class Position:
    """A place in a log, at the beginning of a record."""

    segment: int
    offset: int


class Growth:
    """Tells a follower that its log has grown, or that the process has ended."""

    def __init__(self, inotify: Inotify, has_ended: Callable[[], bool]) -> None:
        """Watch nothing yet."""
        self._inotify = inotify
        self._has_ended = has_ended
        self._event = asyncio.Event()
        self._watch: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._has_ended()

    def woken(self) -> None:
        """Something has changed."""
        self._event.set()

    def watch(self, files: LogFiles) -> None:
        """Watch the file that is being written now."""
        self.close()
        with suppress(OSError):
            self._watch = self._inotify.watch(files.path, self.woken)

    async def wait(self, deadline: float | None = None) -> bool:
        """Wait for more; false when no more can come."""
        if self._has_ended():
            return False
        wait_s = _FALLBACK_WAIT_S
        if deadline is not None:
            wait_s = min(wait_s, deadline - time.time())
            if wait_s <= 0:
                return False
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._event.wait()
        self._event.clear()
        return True

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._inotify.unwatch(self._watch, self.woken)
            self._watch = None


async def read(
    files: LogFiles,
    renderer: Renderer,
    *,
    tail: int = -1,
    growth: Growth | None = None,
    until_s: float | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield what a client gets. With ``growth`` it goes on as the log grows.

    Args:
        files: The log.
        renderer: What of each record is wanted, and in which form.
        tail: How many lines from the end; negative for all.
        growth: Says when there is more; None ends at the end of the log.
        until_s: When a follower stops, as seconds since the epoch.
    """
    position = await asyncio.to_thread(tail_position, files, tail)
    async with aclosing(chunks(files, position, growth=growth, until_s=until_s)) as log:
        async for _, chunk in log:
            rendered = await asyncio.to_thread(renderer.render, chunk)
            if rendered:
                yield rendered
            if renderer.is_past:
                break
    if rest := renderer.finish():
        yield rest


async def chunks(
    files: LogFiles,
    position: Position,
    *,
    growth: Growth | None = None,
    until_s: float | None = None,
) -> AsyncGenerator[tuple[Position, bytes], None]:
    """Yield whole records in large chunks, each with the position after it."""
    segment = max(position.segment, files.oldest)
    offset = position.offset if segment == position.segment else 0
    file: IO[bytes] | None = None
    try:
        while True:
            if file is None:
                file = await asyncio.to_thread(files.open, segment)
                if file is not None and growth is not None and segment == files.newest:
                    growth.watch(files)
            was_closed = files.is_closed(segment) or growth is None or growth.is_over
            data = b"" if file is None else await asyncio.to_thread(_whole, file, offset)
            if data:
                offset += len(data)
                yield Position(segment, offset), data
            elif segment != files.newest and not was_closed:
                await asyncio.sleep(_REOPENING_S)
            elif segment != files.newest:
                segment, offset = max(segment + 1, files.oldest), 0
                _close(file)
                file = None
            elif growth is None or not await _more(growth, file, offset, until_s, files, segment):
                return
    finally:
        _close(file)
        if growth is not None:
            growth.close()


async def _more(
    growth: Growth,
    file: IO[bytes] | None,
    offset: int,
    until_s: float | None,
    files: LogFiles,
    segment: int,
) -> bool:
    if await growth.wait(until_s):
        return True
    # What was written between the last look and the end still counts.
    grown = file is not None and bool(_whole(file, offset))
    return grown or segment != files.newest


def _close(file: IO[bytes] | None) -> None:
    if file is not None:
        file.close()


def _whole(file: IO[bytes], offset: int) -> bytes:
    """Return whole records from the offset on, none if there is no whole one."""
    size = _CHUNK
    while True:
        file.seek(offset)
        data = file.read(size)
        end = data.rfind(b"\n") + 1
        if end or len(data) < size:
            return data[:end]
        size *= 2


def tail_position(files: LogFiles, lines: int) -> Position:
    """Find where the last lines begin; a line of several parts counts once."""
    if lines < 0:
        return Position(files.oldest, 0)
    wanted = lines
    for segment in range(files.newest, files.oldest - 1, -1):
        file = files.open(segment)
        if file is None:
            continue
        with file:
            if wanted == 0 and segment == files.newest:
                return Position(segment, size_of(file))
            offset, wanted = _from_end(file, wanted)
        if wanted <= 0:
            return Position(segment, offset)
    return Position(files.oldest, 0)


def _from_end(file: IO[bytes], wanted: int) -> tuple[int, int]:
    """Return where the last wanted lines begin, and how many are still missing (0: found)."""
    start = size_of(file)
    buffer = b""  # records from ``start`` on that are not counted yet
    is_last = True
    while start > 0:
        step = min(_CHUNK // 4, start)
        start -= step
        file.seek(start)
        buffer = file.read(step) + buffer
        first = 0 if start == 0 else buffer.find(b"\n") + 1
        if start > 0 and first == 0:
            continue
        end = len(buffer)
        while end > first:
            begin = buffer.rfind(b"\n", first, end - 1) + 1
            begin = max(begin, first)
            record = parse(buffer[begin : end - 1])
            # A whole record begins a line's count; parts belong to the line that follows them.
            if record is not None and (is_last or not record.is_partial):
                if wanted == 0:
                    return start + end, 0
                wanted -= 1
                is_last = False
            end = begin
        buffer = buffer[:first]
    return 0, wanted
