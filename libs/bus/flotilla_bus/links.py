"""The two links that carry streams: NATS inboxes and a direct TCP connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import cast

import nats.errors
from nats.aio.msg import Msg

from flotilla_bus.blocking import BlockingInput, Buffer, has_room_for
from flotilla_bus.connection import Connection
from flotilla_bus.frames import (
    CHUNK_BYTES,
    DIRECT_CHUNK_BYTES,
    DirectDecoder,
    Frame,
    FrameKind,
    decode,
    direct_data,
    direct_head,
    encode,
)
from flotilla_bus.sockets import bound_silence
from flotilla_bus.streams import Stream
from flotilla_core.errors import UnavailableError

log = logging.getLogger(__name__)

NATS_WINDOW_BYTES = 1024 * 1024
DIRECT_WINDOW_BYTES = 2 * 1024 * 1024

_BUS_DOWN_FOR_S = 60.0
_JOIN_BELOW_BYTES = 16 * 1024


class NatsLink:
    """Sends a stream's frames to the other end's inbox; frames are lost in a reconnect."""

    chunk_bytes = CHUNK_BYTES
    window_bytes = NATS_WINDOW_BYTES
    lossy = True

    def __init__(self, connection: Connection, peer: str, on_detach: Callable[[], None]) -> None:
        """Send to the inbox ``peer``."""
        self._connection = connection
        self._peer = peer
        self._on_detach = on_detach

    def is_up(self) -> bool:
        """Return whether NATS is there, or has been away for so long that it makes no odds."""
        away_s = asyncio.get_running_loop().time() - self._connection.last_change
        return self._connection.is_connected or away_s > _BUS_DOWN_FOR_S

    async def send(self, frame: Frame) -> None:
        """Send, or drop the frame while NATS is away: the stream sends it again."""
        if self._connection.is_connected:
            with contextlib.suppress(nats.errors.Error):
                await self._connection.publish(self._peer, encode(frame))

    async def send_data(self, offset: int, parts: Sequence[memoryview]) -> None:
        """Send a frame of data."""
        await self.send(Frame(FrameKind.DATA, offset, 0, b"".join(parts)))

    def blocking_input(self, early: Sequence[Buffer]) -> None:
        """Return None: what arrives comes through the event loop."""

    def detach(self) -> None:
        """Give the inbox back."""
        self._on_detach()


async def deliver(stream: Stream, message: Msg) -> None:
    """Hand a message of a stream's inbox to the stream."""
    try:
        frame = decode(message.data)
    except ValueError:
        log.warning("a stream's inbox got something else than a frame")
        return
    await stream.on_frame(frame)


class DirectLink(asyncio.BufferedProtocol):
    """One direct connection: a link, and the protocol that receives its frames.

    Frames are given to the stream as they arrive, without a task in between; the stream's own
    answers to them never wait on this link.
    """

    chunk_bytes = DIRECT_CHUNK_BYTES
    window_bytes = DIRECT_WINDOW_BYTES
    lossy = False

    def __init__(self, on_hello: Callable[[DirectLink, bytes], None] | None = None) -> None:
        """Serve: ``on_hello`` gets the token of whoever dialled. None: this side dials."""
        self._on_hello = on_hello
        self._on_detach: Callable[[], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._decoder = DirectDecoder()
        self._stream: Stream | None = None
        self._early: list[Frame] = []
        self._lost = False
        self._input: BlockingInput | None = None
        self._is_deaf = False
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, stream: Stream, on_detach: Callable[[], None]) -> None:
        """Feed the stream from now on; frames that came early first."""
        self._stream = stream
        self._on_detach = on_detach
        early, self._early = self._early, []
        for frame in early:
            self._deliver(stream, frame)
        if self._lost:
            self._fail()

    def is_up(self) -> bool:
        """Return True: a direct connection that is silent is dead."""
        return True

    async def send(self, frame: Frame) -> None:
        """Write the frame; what the socket does not take is bounded by the stream's window."""
        self.post(frame)

    async def send_data(self, offset: int, parts: Sequence[memoryview]) -> None:
        """Write a frame of data without a copy, but for small ones."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        pieces = direct_data(offset, parts)
        if sum(map(len, parts)) < _JOIN_BELOW_BYTES:
            transport.write(b"".join(pieces))
        else:
            transport.writelines(pieces)

    def post(self, frame: Frame) -> None:
        """Write the frame."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(direct_head(frame) + frame.payload)

    def blocking_input(self, early: Sequence[Buffer]) -> BlockingInput | None:
        """Let a thread receive instead, if the kernel can hold a whole window meanwhile."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return None
        connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        connection.setblocking(False)
        if not has_room_for(connection, self.window_bytes):
            connection.close()
            return None
        transport.pause_reading()
        self._input = BlockingInput(connection, self._decoder.taken(), early, self)
        return self._input

    def on_taken(self, size: int) -> None:
        """Pass on what the thread says."""
        if self._stream is not None:
            self._run(self._stream.on_taken(size))

    def on_other(self, frame: Frame) -> None:
        """Take a frame that the thread received."""
        self._take(frame)

    def on_returned(self, *, at_end: bool) -> None:
        """Receive again; within a frame nothing can be understood but the end."""
        self._input = None
        self._is_deaf = not at_end
        if self._stream is not None:
            self._stream.on_returned()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def detach(self) -> None:
        """Close the connection once what was written is on its way."""
        self.close()
        if self._on_detach is not None:
            self._on_detach()

    def close(self) -> None:
        """Close the connection."""
        if self._input is not None:
            self._input.stop()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        bound_silence(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to receive."""
        return self._decoder.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the frames that are complete."""
        if self._is_deaf:
            return
        try:
            frames = self._decoder.received(nbytes)
        except ValueError as error:
            log.warning("a direct connection is none of ours: %s", error)
            self.close()
            return
        for frame in frames:
            self._take(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the stream, unless it has ended already."""
        self._lost = True
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionResetError())
            self.welcomed.exception()
        self._fail()

    def _take(self, frame: Frame) -> None:
        is_known = self._on_hello is None or self.welcomed.done()
        if not is_known and frame.kind is not FrameKind.HELLO:
            self.close()  # whoever it is has yet to show a token
            return
        match frame.kind:
            case FrameKind.HELLO if self._on_hello is not None:
                self._on_hello(self, bytes(frame.payload))
            case FrameKind.WELCOME if not self.welcomed.done():
                self.welcomed.set_result(None)
            case _ if self._stream is None:
                self._early.append(frame)
            case _:
                self._deliver(self._stream, frame)

    def _deliver(self, stream: Stream, frame: Frame) -> None:
        self._run(stream.on_frame(frame))

    @staticmethod
    def _run(reaction: Coroutine[None, None, None]) -> None:
        """Run a stream's reaction; it never waits here, as ``send`` does not."""
        try:
            reaction.send(None)
        except StopIteration:
            return
        raise RuntimeError("a stream waited while it took a frame")

    def _fail(self) -> None:
        if self._stream is not None and not self._stream.is_gone:
            self._stream.fail(UnavailableError(f"the connection to {self._stream.peer} was lost"))
