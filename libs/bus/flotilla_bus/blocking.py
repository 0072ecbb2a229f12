"""The incoming data of a direct stream, received by a thread that may block.

Large transfers end in a thread that writes files. Each hop through the event loop costs about as
much as the copy itself, so the thread reads from the socket, into one buffer, and the loop only
hears how far it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol

from flotilla_bus.frames import (
    DIRECT_CHUNK_BYTES,
    DIRECT_HEAD_BYTES,
    Frame,
    FrameKind,
    parse_direct_head,
)

SILENT_FOR_S = 15.0
_TELL_EVERY_BYTES = 1024 * 1024

Buffer = bytes | bytearray | memoryview


class Owner(Protocol):
    """What hears of the thread's reading, in the event loop."""

    def on_taken(self, size: int) -> None:
        """So many bytes of data were received and used."""
        ...

    def on_other(self, frame: Frame) -> None:
        """A frame came that is no data."""
        ...

    def on_returned(self, *, at_end: bool) -> None:
        """The thread reads no more; ``at_end``: as it has come to the end, else within a frame."""
        ...


def has_room_for(connection: socket.socket, window_bytes: int) -> bool:
    """Have the kernel hold all that the sender may send, and tell whether it does.

    The thread may be busy for long. To the sender's kernel a full buffer looks like a dead host.
    """
    wanted = window_bytes + window_bytes // 4
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)  # the buffer stays large
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > window_bytes


class BlockingInput:
    """Reads one stream's frames from its socket, in a thread, until the end of its data."""

    def __init__(
        self, connection: socket.socket, begun: bytes, early: Sequence[Buffer], owner: Owner
    ) -> None:
        """Take over a socket; made in the event loop.

        Args:
            connection: The socket, non-blocking, which is closed at the end.
            begun: What was received of a frame that is not complete.
            early: Data that was received before, and counted.
            owner: Whom to tell.
        """
        self._connection = connection
        self._begun = memoryview(begun)
        self._early = early
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._beginning = threading.Lock()
        self._is_begun = False
        self._is_stopped = False
        self._at_end = False
        self._low_water = 1
        self._untold = 0

    def stop(self) -> None:
        """End the thread's reading (called in the event loop); harmless when it has ended."""
        with self._beginning:
            was_stopped, self._is_stopped = self._is_stopped, True
        if self._is_begun:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)
        elif not was_stopped:
            self._connection.close()
            self._owner.on_returned(at_end=False)

    def chunks(self) -> Generator[Buffer, None, None]:
        """Yield the data, in the thread; a chunk is good until the next is asked for.

        Raises:
            ConnectionResetError: If the data ends before its EOF.
        """
        with self._beginning:
            if self._is_stopped:
                raise ConnectionResetError("the transfer was broken off")
            self._is_begun = True
        try:
            yield from self._early
            yield from self._data()
        finally:
            self._tell_taken()
            with contextlib.suppress(OSError):
                self._wake_at(1)
            self._tell(lambda: self._owner.on_returned(at_end=self._at_end))
            self._connection.close()

    def _data(self) -> Iterator[Buffer]:
        buffer = memoryview(bytearray(DIRECT_CHUNK_BYTES))
        while True:
            left, frame = self._next_head()
            if frame.kind is not FrameKind.DATA:
                self._on_other(frame._replace(payload=self._exactly(left)))
                if self._at_end:
                    return
                continue
            while left:
                count = self._receive(buffer[:left])
                left -= count
                self._untold += count
                yield buffer[:count]
                if self._untold >= _TELL_EVERY_BYTES:
                    self._tell_taken()

    def _next_head(self) -> tuple[int, Frame]:
        try:
            return parse_direct_head(self._exactly(DIRECT_HEAD_BYTES))
        except ValueError as error:
            raise ConnectionResetError(str(error)) from error

    def _on_other(self, frame: Frame) -> None:
        self._tell_taken()
        self._tell(lambda: self._owner.on_other(frame))
        self._at_end = frame.kind in (FrameKind.EOF, FrameKind.CLOSE)
        if frame.kind is FrameKind.CLOSE:
            raise ConnectionResetError("the transfer was broken off")

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        space = memoryview(data)
        while space:
            space = space[self._receive(space) :]
        return bytes(data)

    def _receive(self, space: memoryview) -> int:
        """Receive some bytes, waiting for them.

        Raises:
            ConnectionResetError: If none come any more.
        """
        if self._begun:
            taken = self._begun[: len(space)]
            space[: len(taken)] = taken
            self._begun = self._begun[len(taken) :]
            return len(taken)
        while not self._is_stopped:
            try:
                count = self._connection.recv_into(space)
            except BlockingIOError:
                self._wake_at(len(space))
                if not self._poll.poll(SILENT_FOR_S * 1000):
                    break
                continue
            if not count:
                break
            return count
        raise ConnectionResetError("the transfer was broken off")

    def _wake_at(self, wanted: int) -> None:
        """Have the kernel wait for much, if much is sure to come: waking up is dear."""
        if wanted != self._low_water:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._low_water = wanted

    def _tell_taken(self) -> None:
        size, self._untold = self._untold, 0
        if size:
            self._tell(lambda: self._owner.on_taken(size))

    def _tell(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)
