"""A duplex stream of bytes with flow control, over whatever carries its frames."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, Self

from flotilla_bus import errors
from flotilla_bus.blocking import BlockingInput, Buffer
from flotilla_bus.frames import Frame, FrameKind
from flotilla_core.errors import FlotillaError, UnavailableError

PING_INTERVAL_S = 5.0
DEAD_AFTER_S = 15.0
ASK_INTERVAL_S = 1.0

_MERGE_BELOW_BYTES = 16 * 1024


class Link(Protocol):
    """Carries the frames of one stream to the other end, in order as long as it lasts."""

    chunk_bytes: int
    """The most payload of a frame."""

    window_bytes: int
    """The most bytes that may be under way or unread."""

    lossy: bool
    """Whether frames may get lost (in a reconnect), so that data is kept until it has arrived."""

    def is_up(self) -> bool:
        """Return whether silence means that the other end is dead."""
        ...

    async def send(self, frame: Frame) -> None:
        """Hand over a frame; what cannot be sent now is dropped if the link is lossy."""
        ...

    async def send_data(self, offset: int, parts: Sequence[memoryview]) -> None:
        """Hand over a frame of data, which is given in parts that nobody changes any more."""
        ...

    def blocking_input(self, early: Sequence[Buffer]) -> BlockingInput | None:
        """Let a thread receive all that follows until the end, if this link can.

        Args:
            early: What had arrived before, for the thread too.
        """
        ...

    def detach(self) -> None:
        """Forget the stream: nothing more is sent or delivered."""
        ...


class Stream:
    """One end of a duplex stream of bytes.

    Memory is bounded by the link's window in each direction: a slow reader makes the writer wait.

    Attributes:
        peer: How errors name the other end.
        on_gone: Called once when the other end has closed or reset the stream, or is dead.
    """

    def __init__(self, link: Link, peer: str) -> None:
        """Use a link; whoever makes the stream feeds it with ``on_frame`` and ``on_tick``."""
        self._link = link
        self.peer = peer
        self._wake_reader = asyncio.Event()
        self._wake_writer = asyncio.Event()
        self._write_lock = asyncio.Lock()
        self._heard = asyncio.get_running_loop().time()
        self._chunks: deque[bytes | bytearray] = deque()
        self._received = 0
        self._consumed = 0
        self._granted = link.window_bytes
        self._eof_received = False
        self._is_read_by_thread = False
        self._asked = -1
        self._asked_at = 0.0
        self._sent = 0
        self._limit = link.window_bytes
        self._unacked = bytearray()
        self._unacked_from = 0
        self._eof_sent = False
        self._error: FlotillaError | None = None
        self._closing: Frame | None = None
        self._detached = False
        self._gone = asyncio.Event()
        self.on_gone: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        """Return the stream, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.aclose()

    async def read(self) -> bytes:
        """Return the next bytes as they come; empty at the other end's EOF.

        Raises:
            FlotillaError: If the other end reset the stream, closed it before its EOF, or died;
                only after all that had arrived was read.
        """
        return bytes(await self.take())

    async def take(self) -> bytes | bytearray:
        """Return the next bytes as ``read``, but in the buffer in which they came.

        Raises:
            FlotillaError: As of ``read``.
        """
        while not self._chunks:
            if self._eof_received:
                return b""
            if self._error is not None:
                raise self._error
            self._wake_reader.clear()
            await self._wake_reader.wait()
        chunk = self._chunks.popleft()
        self._consumed += len(chunk)
        window = self._link.window_bytes
        if self._consumed + window - self._granted >= window // 4 and not self._eof_received:
            await self._grant()
        return chunk

    async def blocking_input(self) -> BlockingInput | None:
        """Let a thread read to the end instead of ``read``, if this stream can.

        The thread must use the input, or it must be stopped. Errors come to ``read``.
        """
        if self._eof_received or self._error is not None:
            return None
        early = list(self._chunks)
        taken = self._link.blocking_input(early)
        if taken is not None:
            self._chunks.clear()
            self._consumed += sum(map(len, early))
            self._is_read_by_thread = True
            await self._grant()
        return taken

    async def on_taken(self, size: int) -> None:
        """Note what a thread has received and used."""
        self._heard = asyncio.get_running_loop().time()
        self._received += size
        self._consumed += size
        if self._closing is None:
            await self._grant()

    def on_returned(self) -> None:
        """Note that the thread reads no more."""
        self._heard = asyncio.get_running_loop().time()
        self._is_read_by_thread = False

    async def write(self, data: bytes | bytearray) -> None:
        """Send bytes; returns when they are under way, having waited for room.

        Raises:
            FlotillaError: If the other end reset or closed the stream, or died.
        """
        await self.write_parts([memoryview(data)])

    async def write_parts(self, parts: Iterable[memoryview]) -> None:
        """Send parts as if they were one; nobody may change them any more.

        Raises:
            FlotillaError: As of ``write``.
        """
        async with self._write_lock:
            left = deque(part for part in parts if part)
            while left:
                size = min(await self._room(), self._link.chunk_bytes)
                cut = _cut_off(left, size)
                offset = self._sent
                for part in cut:
                    self._sent += len(part)
                    if self._link.lossy:
                        self._unacked += part
                await self._link.send_data(offset, cut)

    async def write_eof(self) -> None:
        """Say that nothing more is written; reading goes on. Harmless when said twice."""
        async with self._write_lock:
            if self._eof_sent or self._error is not None or self._closing is not None:
                return
            self._eof_sent = True
            await self._link.send(Frame(FrameKind.EOF, self._sent))

    async def reset(self, error: FlotillaError) -> None:
        """End the stream with an error that the other end's calls raise. Harmless when ended."""
        await self._close(errors.to_bytes(error))

    async def aclose(self) -> None:
        """Let go of the stream; harmless when closed.

        What was written before ``write_eof`` still arrives. Without ``write_eof`` the other end
        sees an error, as it cannot know that it has everything.
        """
        await self._close(b"")

    async def wait_gone(self) -> None:
        """Return once the other end has closed or reset the stream, or is dead."""
        await self._gone.wait()

    @property
    def is_gone(self) -> bool:
        """Whether the other end has closed or reset the stream, or is dead."""
        return self._gone.is_set()

    async def on_frame(self, frame: Frame) -> None:
        """Take a frame that the link delivers."""
        if self._detached:
            return
        self._heard = asyncio.get_running_loop().time()
        match frame.kind:
            case FrameKind.DATA:
                await self._on_data(frame)
            case FrameKind.EOF:
                await self._on_sent(frame.a, ended=True)
            case FrameKind.PING:
                await self._on_sent(frame.a, ended=frame.b == 1)
            case FrameKind.CREDIT:
                self._on_credit(frame)
            case FrameKind.MISSING:
                await self._send_again(frame.a)
            case FrameKind.CLOSE:
                await self._on_close(frame)
            case FrameKind.CLOSED if self._closing is not None:
                self._detach()
            case _:
                pass

    async def on_tick(self, *, revived: bool = False) -> None:
        """Keep the stream alive, or end it when the other end has been silent for too long.

        Args:
            revived: The link has just come back: silence counts from now.
        """
        now = asyncio.get_running_loop().time()
        if self._detached or self._gone.is_set():
            return
        if revived or self._is_read_by_thread or not self._link.is_up():
            self._heard = now
        if now - self._heard > DEAD_AFTER_S:
            self.fail(UnavailableError(f"{self.peer} has stopped answering"))
            return
        if self._closing is not None:
            await self._link.send(self._closing)
            return
        await self._link.send(Frame(FrameKind.PING, self._sent, int(self._eof_sent)))
        await self._link.send(Frame(FrameKind.CREDIT, self._granted, self._received))

    def fail(self, error: FlotillaError) -> None:
        """End the stream from this side's transport: the other end can no longer be reached."""
        self._end(error)
        self._detach()

    def _end(self, error: FlotillaError) -> None:
        if self._error is None:
            self._error = error
        self._set_gone()
        self._wake_reader.set()
        self._wake_writer.set()

    def _set_gone(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            if self.on_gone is not None:
                self.on_gone()

    def _detach(self) -> None:
        if not self._detached:
            self._detached = True
            self._set_gone()
            self._unacked.clear()
            self._link.detach()

    async def _room(self) -> int:
        """Wait for credit and return how much there is."""
        while True:
            if self._error is not None:
                raise self._error
            if self._eof_sent:
                raise UnavailableError("the stream was already ended by this side")
            if self._limit > self._sent:
                return self._limit - self._sent
            self._wake_writer.clear()
            await self._wake_writer.wait()

    async def _grant(self) -> None:
        self._granted = self._consumed + self._link.window_bytes
        await self._link.send(Frame(FrameKind.CREDIT, self._granted, self._received))

    async def _on_data(self, frame: Frame) -> None:
        if frame.a > self._received:
            await self._ask_again()
            return
        payload = frame.payload
        if frame.a < self._received:
            payload = payload[self._received - frame.a :]
        if not payload:
            return
        self._received += len(payload)
        if self._closing is not None:
            return
        self._keep(payload)
        self._wake_reader.set()

    def _keep(self, payload: bytes | bytearray) -> None:
        """Queue a chunk; small ones are joined, or a byte would cost a hundred."""
        last = self._chunks[-1] if self._chunks else None
        if last is None or len(last) + len(payload) > _MERGE_BELOW_BYTES:
            self._chunks.append(payload)
        elif isinstance(last, bytearray):
            last += payload
        else:
            self._chunks[-1] = bytearray(last) + payload

    async def _on_sent(self, offset: int, *, ended: bool) -> None:
        """Compare with what the other end has sent."""
        if offset > self._received:
            await self._ask_again()
        elif ended and not self._eof_received:
            self._eof_received = True
            self._wake_reader.set()

    async def _ask_again(self) -> None:
        """Ask for what is missing, once a second: all that follows shows the same gap."""
        now = asyncio.get_running_loop().time()
        if self._asked != self._received or now - self._asked_at > ASK_INTERVAL_S:
            self._asked, self._asked_at = self._received, now
            await self._link.send(Frame(FrameKind.MISSING, self._received))

    def _on_credit(self, frame: Frame) -> None:
        arrived = frame.b - self._unacked_from
        if self._link.lossy and arrived > 0:
            del self._unacked[:arrived]
            self._unacked_from = frame.b
        if frame.a > self._limit:
            self._limit = frame.a
            self._wake_writer.set()

    async def _send_again(self, offset: int) -> None:
        if not self._link.lossy or offset < self._unacked_from:
            return
        held = bytes(self._unacked[offset - self._unacked_from :])
        for start in range(0, len(held), self._link.chunk_bytes):
            chunk = held[start : start + self._link.chunk_bytes]
            await self._link.send(Frame(FrameKind.DATA, offset + start, 0, chunk))
        if self._closing is not None:
            await self._link.send(self._closing)
        elif self._eof_sent:
            await self._link.send(Frame(FrameKind.EOF, self._sent))

    async def _on_close(self, frame: Frame) -> None:
        if not frame.payload and frame.a > self._received:
            await self._ask_again()
            return
        await self._link.send(Frame(FrameKind.CLOSED))
        if frame.payload:
            self._end(errors.from_bytes(bytes(frame.payload)))
        else:
            self._eof_received = self._eof_received or frame.b == 1
            self._end(UnavailableError(f"{self.peer} has closed the stream"))
        if self._closing is not None:
            self._detach()

    async def _close(self, error: bytes) -> None:
        if self._closing is not None:
            return
        self._closing = Frame(FrameKind.CLOSE, self._sent, int(self._eof_sent), error)
        other_end_gone = self._gone.is_set()
        self._chunks.clear()
        if self._error is None:
            self._error = UnavailableError("the stream is closed")
        self._eof_received = False
        self._wake_reader.set()
        self._wake_writer.set()
        if not self._detached:
            await self._link.send(self._closing)
        if other_end_gone:
            self._detach()


def _cut_off(parts: deque[memoryview], size: int) -> list[memoryview]:
    """Remove the first bytes of the parts, at most so many, and return them."""
    cut: list[memoryview] = []
    while parts and size:
        part = parts.popleft()
        if len(part) > size:
            parts.appendleft(part[size:])
            part = part[:size]
        cut.append(part)
        size -= len(part)
    return cut
