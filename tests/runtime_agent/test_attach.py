"""Streams shared by clients (``runtime/attach.py``, ``sessions.py``, ``runtime/detach.py``)."""

from __future__ import annotations

import asyncio
import socket

import pytest

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.detach_keys import DEFAULT_KEYS, parse_keys
from flotilla_engine.stdcopy import frame
from flotilla_runtime_agent.runtime.attach import Broadcast
from flotilla_runtime_agent.runtime.detach import DetachScanner
from flotilla_runtime_agent.sessions import framed


class Monitor:
    """The other end of an attach socket."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.setblocking(False)
        self.ours.setblocking(False)

    def connect(self) -> socket.socket:
        return self.theirs


async def test_packets_keep_their_stream_and_every_byte() -> None:
    monitor = Monitor()
    broadcast = Broadcast(monitor.connect)
    both, errors = broadcast.subscribe(), broadcast.subscribe(stdout=False)
    for packet in (b"\x02one\n", b"\x03two\n", b"\x03three\n", b"\x02four\n"):
        monitor.ours.send(packet)
    broadcast.begin()
    monitor.ours.close()
    packets = []
    while batch := await both.read():
        packets += batch
    assert packets == [(2, b"one\n"), (3, b"two\nthree\n"), (2, b"four\n")]
    assert await errors.read() == [(3, b"two\nthree\n")]
    assert await errors.read() == []


async def test_slow_client_makes_the_writer_wait_and_loses_nothing() -> None:
    monitor = Monitor()
    broadcast = Broadcast(monitor.connect)
    client = broadcast.subscribe()
    broadcast.begin()
    loop = asyncio.get_running_loop()
    packet = b"\x02" + b"x" * 32768

    async def write() -> None:
        for _ in range(200):
            await loop.sock_sendall(monitor.ours, packet)
        monitor.ours.close()

    writing = asyncio.create_task(write())
    done, _ = await asyncio.wait([writing], timeout=0.5)
    assert not done
    size = 0
    while batch := await client.read():
        size += sum(len(data) for _, data in batch)
    await writing
    assert size == 200 * 32768


async def test_input_waits_for_the_process() -> None:
    monitor = Monitor()
    broadcast = Broadcast(monitor.connect, hold=True)
    sending = asyncio.create_task(broadcast.send(b"early"))
    await asyncio.sleep(0)
    broadcast.begin()
    await sending
    assert monitor.ours.recv(100) == b"early"
    await broadcast.send_eof()
    assert monitor.ours.recv(100) == b""
    broadcast.end()
    monitor.ours.close()


def test_neighbours_of_a_stream_share_a_frame() -> None:
    packets = [(2, b"a"), (2, b"b"), (3, b"c"), (2, b"d")]
    assert framed(packets) == frame(1, b"ab") + frame(2, b"c") + frame(1, b"d")


def test_detach_keys() -> None:
    assert parse_keys("") == DEFAULT_KEYS
    assert parse_keys("ctrl-a,b,ctrl-@") == b"\x01b\x00"
    with pytest.raises(InvalidArgumentError, match=r"Invalid detach keys \(ctrl-\?\) provided"):
        parse_keys("ctrl-?")


def test_keys_of_a_partial_match_are_passed_on() -> None:
    scanner = DetachScanner(b"\x10\x11")
    assert scanner.feed(b"ab\x10") == (b"ab", False)
    assert scanner.feed(b"c") == (b"\x10c", False)
    assert scanner.feed(b"\x10\x10\x11z") == (b"\x10", True)
