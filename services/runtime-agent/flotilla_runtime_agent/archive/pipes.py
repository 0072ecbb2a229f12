"""Pipes between a thread that blocks and the event loop that must not."""

import asyncio
import contextlib
import fcntl
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from flotilla_bus.blocking import BlockingInput

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_HANDOVER_BYTES = 2 << 20


class ByteWriter(Protocol):
    """What takes bytes: a stream of the bus."""

    async def write(self, data: bytes) -> None:
        """Write all of it; waits while the other side is slow."""
        ...


class ByteReader(Protocol):
    """What gives bytes: a stream of the bus."""

    async def take(self) -> bytes | bytearray:
        """Return some bytes, in a buffer that nobody else uses; none at the end."""
        ...

    async def blocking_input(self) -> BlockingInput | None:
        """Let a thread read instead, if this stream can."""
        ...


def opened_pipe() -> tuple[int, int]:
    """Return the ends of a large pipe: for reading, for writing."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # above the limit for users
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


async def chunks(reading: int) -> AsyncIterator[bytes]:
    """Yield what comes out of a pipe until its end; the caller closes it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(reading, False)
    while True:
        try:
            data = os.read(reading, _PIPE_BYTES)
        except BlockingIOError:
            ready = asyncio.Event()
            loop.add_reader(reading, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(reading)
            continue
        if not data:
            return
        yield data


class Handover:
    """Chunks handed from the event loop to a thread; bounded, and without a copy."""

    def __init__(self) -> None:
        """Start empty; for use in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes | bytearray] = deque()
        self._bytes = 0
        self._has_chunks = threading.Condition()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._ended = False
        self._is_abandoned = False

    async def put(self, data: bytes | bytearray) -> None:
        """Hand a chunk over, waiting for room.

        Raises:
            BrokenPipeError: If the thread takes no more.
        """
        await self._has_room.wait()
        with self._has_chunks:
            if self._is_abandoned:
                raise BrokenPipeError
            self._chunks.append(data)
            self._bytes += len(data)
            if self._bytes >= _HANDOVER_BYTES:
                self._has_room.clear()
            self._has_chunks.notify()

    def end(self, *, broken: bool = False) -> None:
        """Say that nothing follows; ``broken``: and that something is missing."""
        with self._has_chunks:
            self._ended = True
            self._is_abandoned = broken
            self._has_chunks.notify()

    def chunks(self) -> Iterator[bytes | bytearray]:
        """Yield the chunks, in the thread.

        Raises:
            ConnectionResetError: If the other side broke off.
        """
        while True:
            with self._has_chunks:
                while not self._chunks and not self._ended:
                    self._has_chunks.wait()
                taken = list(self._chunks)
                self._chunks.clear()
                self._bytes = 0
                is_broken = self._ended and self._is_abandoned
            self._loop.call_soon_threadsafe(self._has_room.set)
            if is_broken:
                raise ConnectionResetError("the transfer was broken off")
            if not taken:
                return
            yield from taken

    def abandon(self) -> None:
        """Say, in the thread, that no more is taken."""
        with self._has_chunks:
            self._is_abandoned = True
            self._chunks.clear()
        self._loop.call_soon_threadsafe(self._has_room.set)
