"""Clients joined to a process: output framed and bounded, input, half-close, detach keys."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from flotilla_bus import Stream
from flotilla_runtime_agent.runtime.attach import Broadcast, Packet, Subscription
from flotilla_runtime_agent.runtime.detach import DetachScanner

_FRAMED = {2: 1, 3: 2}  # conmon's numbers to the Engine API's
_HEADER = struct.Struct(">BxxxI")


@dataclass(frozen=True)
class Session:
    """How a client is joined.

    Attributes:
        mux: Whether output is framed by stream.
        stdin: Whether the client's bytes go to the process.
        closes_stdin: Whether the client's end of input closes the process's; otherwise it ends
            the session.
        keys: The detach sequence; empty: none.
    """

    mux: bool
    stdin: bool
    closes_stdin: bool
    keys: bytes = b""


async def run(session: Session, stream: Stream, output: Subscription, process: Broadcast) -> bool:
    """Serve a client until the process or the client ends; true if it has detached."""
    tasks: list[asyncio.Task[bool]] = [asyncio.create_task(_write(stream, output, mux=session.mux))]
    if session.stdin:
        tasks.append(asyncio.create_task(_read(session, stream, process)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return any(task.result() for task in done)
    finally:
        output.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(stream: Stream, output: Subscription, *, mux: bool) -> bool:
    while packets := await output.read():
        await stream.write(framed(packets) if mux else b"".join([data for _, data in packets]))
    return False


def framed(packets: Sequence[Packet]) -> bytes:
    """Frame packets as the Engine API multiplexes streams; neighbours share a frame."""
    parts: list[bytes] = []
    first = 0
    while first < len(packets):
        stream = packets[first][0]
        last = first
        size = 0
        while last < len(packets) and packets[last][0] == stream:
            size += len(packets[last][1])
            last += 1
        parts.append(_HEADER.pack(_FRAMED.get(stream, 1), size))
        parts += [data for _, data in packets[first:last]]
        first = last
    return b"".join(parts)


async def _read(session: Session, stream: Stream, process: Broadcast) -> bool:
    """Pass input on; returns, true if detached, when the session is to end."""
    scanner = DetachScanner(session.keys) if session.keys else None
    while data := await stream.read():
        has_left = False
        if scanner is not None:
            data, has_left = scanner.feed(data)
        if data:
            await process.send(data)
        if has_left:
            return True
    if session.closes_stdin:
        await process.send_eof()
        await asyncio.Event().wait()  # the output ends the session
    return False
