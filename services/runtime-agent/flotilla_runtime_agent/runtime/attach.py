"""Streams of a running process, shared by any number of clients with bounded memory.

One connection to conmon's attach socket feeds all clients. A client that does not read makes the
connection wait, and with it conmon and at last the process: as dockerd does, nothing is lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from flotilla_runtime_agent.runtime.conmon import ATTACH_LIMIT

STDOUT = 2
STDERR = 3
_CLIENT_LIMIT = 1 << 20  # bytes that may wait for a client
_TURN_BYTES = 256 * 1024
_FLOOD_BYTES = 4096  # a turn that brings as much, soon after the last one, is part of a flood
_FLOOD_WITHIN_S = 0.001
_FLOOD_PAUSE_S = 0.001  # lets conmon fill its socket, so that much is passed on at once
# Filled and emptied within one turn of the one event loop. Each packet's first byte, the number of
# its stream, is received over the last byte before it, which is then put back: so the packets'
# data lie one after the other without a copy.
_BUFFER = bytearray(_TURN_BYTES + ATTACH_LIMIT + 1)
_VIEW = memoryview(_BUFFER)

Packet = tuple[int, bytes]


class Subscription:
    """One client's share of the output."""

    def __init__(self, broadcast: Broadcast, *, stdout: bool, stderr: bool) -> None:
        """Made by ``Broadcast.subscribe``."""
        self._broadcast = broadcast
        self._wanted = {STDOUT} if stdout else set()
        if stderr:
            self._wanted.add(STDERR)
        self._packets: deque[Packet] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    @property
    def is_full(self) -> bool:
        """Whether the client is too far behind to take more."""
        return self._size >= _CLIENT_LIMIT

    def offer(self, packet: Packet) -> None:
        """Take a packet, if this client wants that stream."""
        if packet[0] in self._wanted and not self._ended:
            self._packets.append(packet)
            self._size += len(packet[1])
            self._wake()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> list[Packet]:
        """Return all packets that wait, at least one; an empty list at the end."""
        while not self._packets:
            if self._ended:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        packets = list(self._packets)
        self._packets.clear()
        was_full = self.is_full
        self._size = 0
        if was_full:
            self._broadcast.resume()
        return packets

    def close(self) -> None:
        """Leave; the others go on."""
        self.end()
        self._packets.clear()
        self._size = 0
        self._broadcast.unsubscribe(self)


class Broadcast:
    """The output of one process to its clients, and their input to it.

    Connected while it has clients, or always where ``hold`` is set: when the last connection
    goes, conmon closes the standard input of a process that was started so.
    """

    def __init__(self, connect: Callable[[], socket.socket], *, hold: bool = False) -> None:
        """Keep how to connect; nothing is opened yet."""
        self._connect = connect
        self._hold = hold
        self._socket: socket.socket | None = None
        self._clients: set[Subscription] = set()
        self._reading = False
        self._live = False
        self._over = False
        self._last_turn = 0.0
        self._begun = asyncio.Event()
        self._input = asyncio.Lock()

    def subscribe(self, *, stdout: bool = True, stderr: bool = True) -> Subscription:
        """Add a client. Before the process is there, it waits for it."""
        client = Subscription(self, stdout=stdout, stderr=stderr)
        self._clients.add(client)
        if self._over:
            client.end()
        elif self._live:
            self._open()
        return client

    def unsubscribe(self, client: Subscription) -> None:
        """Remove a client."""
        self._clients.discard(client)
        if self._live and not self._clients and (self._over or not self._hold):
            self._shut()
        else:
            self.resume()

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._over

    def begin(self) -> None:
        """The process is there (it may not have started yet)."""
        self._live = True
        self._begun.set()
        if self._clients or self._hold:
            self._open()

    def _open(self) -> None:
        if self._socket is None:
            try:
                self._socket = self._connect()
            except OSError:  # the monitor has just ended
                self._finish()
                return
        self.resume()

    def resume(self) -> None:
        """Read on, if everyone can take more."""
        ready = not any(client.is_full for client in self._clients)
        if self._socket is not None and ready and not self._reading:
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._receive)
            self._reading = True

    def _pause(self) -> None:
        if self._socket is not None and self._reading:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._reading = False

    def _receive(self) -> None:
        if self._socket is None:
            return
        start = end = 1
        stream = 0
        is_over = False
        while end < _TURN_BYTES:
            before = _BUFFER[end - 1]
            try:
                size = self._socket.recv_into(_VIEW[end - 1 : end + ATTACH_LIMIT])
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                size = 0
            if not size:
                is_over = True
                break
            came_from, _BUFFER[end - 1] = _BUFFER[end - 1], before
            if came_from != stream:
                self._offer(stream, start, end)
                stream, start = came_from, end
            end += size - 1
        self._offer(stream, start, end)
        if is_over:
            self._finish()
        elif any(client.is_full for client in self._clients):
            self._pause()
        else:
            self._slow_down(end - 1)

    def _offer(self, stream: int, start: int, end: int) -> None:
        if end > start and self._clients:
            packet = (stream, bytes(_VIEW[start:end]))
            for client in self._clients:
                client.offer(packet)

    def _slow_down(self, size: int) -> None:
        """In a flood, wait a moment before the next turn."""
        loop = asyncio.get_running_loop()
        moment = loop.time()
        if size >= _FLOOD_BYTES and moment - self._last_turn < _FLOOD_WITHIN_S + _FLOOD_PAUSE_S:
            self._pause()
            loop.call_later(_FLOOD_PAUSE_S, self.resume)
        self._last_turn = moment

    def _finish(self) -> None:
        self._shut()
        self._live = False
        for client in self._clients:
            client.end()

    def _shut(self) -> None:
        self._pause()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def end(self) -> None:
        """The process has ended: what conmon has sent is still handed out, then all clients end."""
        self._over = True
        self._begun.set()
        if self._socket is None:
            self._finish()
        elif not self._clients:
            self._shut()

    async def send(self, data: bytes | bytearray) -> None:
        """Write to the standard input; waits for the process, and while it does not read."""
        await self._begun.wait()
        async with self._input:
            loop = asyncio.get_running_loop()
            view = memoryview(data)
            for start in range(0, len(data), ATTACH_LIMIT):
                if self._socket is None:
                    return
                packet = view[start : start + ATTACH_LIMIT]
                try:
                    self._socket.send(packet)
                except BlockingIOError:
                    with suppress(OSError):
                        await loop.sock_sendall(self._socket, packet)
                except OSError:
                    return

    async def send_eof(self) -> None:
        """Close the standard input, where conmon was started to do so."""
        await self._begun.wait()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
