"""Tests of flotilla_bus.streams over both links: NATS, and a direct connection."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from flotilla_bus import (
    Accept,
    Bus,
    Empty,
    Message,
    Service,
    Stream,
    StreamMethod,
    connected,
    direct,
    streams,
)
from flotilla_bus.blocking import BlockingInput
from flotilla_bus.frames import Frame, FrameKind, direct_head
from flotilla_bus.links import DirectLink, NatsLink
from flotilla_core.errors import ConflictError, FlotillaError, NotFoundError, UnavailableError
from flotilla_testing.nats import NatsServer


class Text(Message):
    text: str = ""


PIPE = StreamMethod("piper", "pipe", Text, Text)
Handler: TypeAlias = Callable[[Text, Accept[Text]], Awaitable[None]]


@pytest.fixture(autouse=True)
def patient_dialler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "DIAL_WITHIN_S", 30)


@pytest.fixture(params=["nats", "direct"])
async def opener(request: pytest.FixtureRequest, nats: NatsServer) -> AsyncIterator[Bus]:
    listen = ("127.0.0.1", 0) if request.param == "direct" else None
    async with connected(nats.url, name="opener", patience_s=30, direct_listen=listen) as bus:
        yield bus


@contextlib.asynccontextmanager
async def serving(bus: Bus, handler: Handler) -> AsyncIterator[Service]:
    async with Service(bus, name="piper") as service:
        service.handle_stream(PIPE, handler)
        await service.ready()
        yield service


async def everything(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # counts have no event to wait on
            await asyncio.sleep(0.01)


async def settled(*buses: Bus) -> None:
    """Wait until no stream and no inbox is left."""
    await until(lambda: not any(bus.open_streams or bus.open_inboxes for bus in buses))


async def echo(request: Text, accept: Accept[Text]) -> None:
    stream = await accept(Text(text=request.text))
    while part := await stream.read():
        await stream.write(part)


async def test_bytes_go_both_ways_and_nothing_is_left(opener: Bus, server: Bus) -> None:
    async with serving(server, echo):
        answer, stream = await opener.open(PIPE, Text(text="hi"))
        async with stream:
            assert answer.text == "hi"
            for part in (b"a", b"", b"b" * 300_000):
                await stream.write(part)
            await stream.write_eof()
            await stream.write_eof()
            assert await everything(stream) == b"a" + b"b" * 300_000
            assert await stream.read() == b""
        await settled(opener, server)


async def test_link_is_the_one_that_was_asked_for(opener: Bus, server: Bus) -> None:
    async with serving(server, echo):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            wanted = NatsLink if opener.listener is None else DirectLink
            assert isinstance(stream._link, wanted)


async def test_many_megabytes_arrive_whole(opener: Bus, server: Bus) -> None:
    block = bytes(range(256)) * 4096

    async def send(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        for _count in range(64):
            await stream.write(block)

    async with serving(server, send):
        _, stream = await opener.open(PIPE, Text())
        digest = hashlib.sha256()
        async with stream:
            while part := await stream.read():
                digest.update(part)
        expected = hashlib.sha256()
        for _count in range(64):
            expected.update(block)
        assert digest.digest() == expected.digest()


async def test_a_thread_may_read_instead(opener: Bus, server: Bus) -> None:
    block = bytes(range(256)) * 1000
    expected = hashlib.sha256(block * 64).hexdigest().encode()

    def digest_of(begun: bytes, incoming: BlockingInput) -> bytes:
        digest = hashlib.sha256(begun)
        with contextlib.closing(incoming.chunks()) as chunks:
            for chunk in chunks:
                digest.update(chunk)
        return digest.hexdigest().encode()

    async def receive(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        begun = await stream.read()
        await until(lambda: stream._received > 1_000_000)
        incoming = await stream.blocking_input()
        assert (incoming is None) == isinstance(stream._link, NatsLink)
        if incoming is None:
            answer = hashlib.sha256(begun + await everything(stream)).hexdigest().encode()
        else:
            answer = await asyncio.to_thread(digest_of, begun, incoming)
        assert await stream.read() == b""
        await stream.write(answer)

    async with serving(server, receive):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            for _count in range(64):
                await stream.write_parts([memoryview(block)[:100_000], memoryview(block)[100_000:]])
            await stream.write_eof()
            assert await everything(stream) == expected
        await settled(opener, server)


@pytest.mark.parametrize("opener", ["direct"], indirect=True)
async def test_a_thread_that_reads_hears_of_a_broken_stream(opener: Bus, server: Bus) -> None:
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    reads = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(incoming: BlockingInput) -> None:
        with contextlib.closing(incoming.chunks()) as chunks:
            for _chunk in chunks:
                loop.call_soon_threadsafe(reads.set)

    async def receive(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        incoming = await stream.blocking_input()
        assert incoming is not None
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(read, incoming)
        try:
            await everything(stream)
        except FlotillaError as error:
            ended.set_result(error)

    async with serving(server, receive):
        _, stream = await opener.open(PIPE, Text())
        await stream.write(b"begun")
        async with asyncio.timeout(30):
            await reads.wait()
        await stream.reset(ConflictError("enough"))
        async with asyncio.timeout(30):
            assert isinstance(await ended, ConflictError)
        await settled(opener, server)


@pytest.mark.parametrize("opener", ["direct"], indirect=True)
@pytest.mark.parametrize("begins", [True, False])
async def test_a_thread_that_wants_no_more_gives_its_reason(
    opener: Bus, server: Bus, *, begins: bool
) -> None:
    def read(incoming: BlockingInput) -> None:
        with contextlib.closing(incoming.chunks()) as chunks:
            next(chunks)

    async def receive(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        incoming = await stream.blocking_input()
        assert incoming is not None
        if begins:
            await asyncio.to_thread(read, incoming)
        incoming.stop()
        raise ConflictError("no more")

    async def flood(stream: Stream) -> None:
        while True:
            await stream.write(b"x" * 100_000)

    async with serving(server, receive):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            with pytest.raises((ConflictError, UnavailableError)):
                await flood(stream)
        await settled(opener, server)


async def test_slow_reader_stops_the_writer(opener: Bus, server: Bus) -> None:
    written = 0

    async def flood(_: Text, accept: Accept[Text]) -> None:
        nonlocal written
        stream = await accept(Text())
        while written < 20_000_000:
            await stream.write(b"x" * 10_000)
            written += 10_000

    async with serving(server, flood):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            await until(lambda: written > stream._link.window_bytes - 10_000)
            await asyncio.sleep(0.1)
            assert written <= stream._link.window_bytes
            assert len(await everything(stream)) == 20_000_000


async def test_tiny_writes_do_not_cost_memory_each(opener: Bus, server: Bus) -> None:
    async def drip(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        for number in range(20_000):
            await stream.write(b"%d" % (number % 10))

    async with serving(server, drip):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            await until(lambda: stream._received == 20_000)
            assert len(stream._chunks) <= 3
            assert await everything(stream) == b"0123456789" * 2000


async def test_error_before_the_answer_is_the_openers(opener: Bus, server: Bus) -> None:
    async def refuse(_: Text, __: Accept[Text]) -> None:
        raise NotFoundError("No such container: x")

    async with serving(server, refuse):
        with pytest.raises(NotFoundError, match="No such container: x"):
            await opener.open(PIPE, Text())
        await settled(opener, server)


async def test_error_of_the_handler_comes_after_its_data(opener: Bus, server: Bus) -> None:
    async def fail(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        await stream.write(b"some")
        raise ConflictError("no more")

    async with serving(server, fail):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            assert await stream.read() == b"some"
            for _count in range(2):
                with pytest.raises(ConflictError, match="no more"):
                    await stream.read()
            with pytest.raises(ConflictError, match="no more"):
                await stream.write(b"x")
        await settled(opener, server)


async def test_reset_by_the_opener_reaches_the_handler(opener: Bus, server: Bus) -> None:
    caught: asyncio.Future[FlotillaError] = asyncio.get_running_loop().create_future()

    async def read(_: Text, accept: Accept[Text]) -> None:
        stream = await accept(Text())
        try:
            await everything(stream)
        except FlotillaError as error:
            caught.set_result(error)

    async with serving(server, read):
        _, stream = await opener.open(PIPE, Text())
        await stream.reset(ConflictError("changed my mind"))
        async with asyncio.timeout(30):
            error = await caught
        assert (type(error), error.message) == (ConflictError, "changed my mind")
        await stream.aclose()
        await settled(opener, server)


async def test_handler_that_waits_elsewhere_ends_when_the_opener_goes(
    opener: Bus, server: Bus
) -> None:
    ended = asyncio.Event()

    async def wait(_: Text, accept: Accept[Text]) -> None:
        await accept(Text())
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(server, wait) as service:
        _, stream = await opener.open(PIPE, Text())
        await stream.aclose()
        async with asyncio.timeout(30):
            await ended.wait()
        with pytest.raises(UnavailableError):
            await stream.read()
        await settled(opener, server)
        await until(lambda: service.running == 0)


async def test_writer_hears_that_the_reader_left(opener: Bus, server: Bus) -> None:
    async def leave(_: Text, accept: Accept[Text]) -> None:
        await accept(Text())

    async with serving(server, leave):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            assert await stream.read() == b""
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(flood(stream), 30)


async def flood(stream: Stream) -> None:
    while True:
        await stream.write(b"x" * 100_000)


async def test_silent_peer_ends_the_stream(
    opener: Bus, server: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(server, echo):
        _, stream = await opener.open(PIPE, Text())
        for other in list(server._streams):
            other._detached = True
        monkeypatch.setattr(streams, "DEAD_AFTER_S", 0.0)
        ticking = asyncio.create_task(_tick(stream))
        with pytest.raises(UnavailableError, match="service piper has stopped answering"):
            await stream.read()
        ticking.cancel()
        assert opener.open_streams == 0


async def _tick(stream: Stream) -> None:
    while True:
        await asyncio.sleep(0.01)
        await stream.on_tick()


async def test_server_that_shuts_down_ends_its_streams(opener: Bus, server: Bus) -> None:
    async with serving(server, echo):
        _, stream = await opener.open(PIPE, Text())
    with pytest.raises(UnavailableError, match="shutting down"):
        await stream.read()
    await stream.aclose()
    await settled(opener, server)


async def test_opener_that_gave_up_leaves_nothing(opener: Bus, server: Bus) -> None:
    asked = asyncio.Event()
    let_go = asyncio.Event()

    async def late(_: Text, accept: Accept[Text]) -> None:
        asked.set()
        await let_go.wait()
        stream = await accept(Text())
        await stream.read()

    async with serving(server, late):
        opening = asyncio.create_task(opener.open(PIPE, Text()))
        await asked.wait()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        let_go.set()
        await settled(opener, server)


async def test_stream_outlives_a_server_restart(opener: Bus, server: Bus, nats: NatsServer) -> None:
    total = 30_000_000
    sent = 0

    async def send(_: Text, accept: Accept[Text]) -> None:
        nonlocal sent
        stream = await accept(Text())
        while sent < total:
            await stream.write(sent.to_bytes(8, "big") * 12_500)
            sent += 100_000

    async with serving(server, send):
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            got = bytearray()
            while len(got) < total // 3:
                got += await stream.read()
            await nats.kill()
            reading = asyncio.create_task(everything(stream))
            await nats.start()
            got += await reading
        assert len(got) == total
        wanted = b"".join(n.to_bytes(8, "big") * 12_500 for n in range(0, total, 100_000))
        assert bytes(got) == wanted


async def test_direct_listener_out_of_reach_falls_back_to_nats(
    nats: NatsServer, server: Bus
) -> None:
    async with (
        connected(
            nats.url, name="opener", direct_listen=("127.0.0.1", 0), direct_advertise="127.0.0.2"
        ) as opener,
        serving(server, echo),
    ):
        assert opener.listener is not None
        opener.listener._address = ("127.0.0.1", 1)
        _, stream = await opener.open(PIPE, Text())
        async with stream:
            assert isinstance(stream._link, NatsLink)
            await stream.write(b"x")
            await stream.write_eof()
            assert await everything(stream) == b"x"


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", direct_head(Frame(FrameKind.DATA)) * 10]
)
async def test_direct_connection_without_a_token_is_closed(nats: NatsServer, first: bytes) -> None:
    async with connected(nats.url, name="opener", direct_listen=("127.0.0.1", 0)) as opener:
        assert opener.listener is not None
        reader, writer = await asyncio.open_connection(*opener.listener.address)
        writer.write(first)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_empty_messages_do_too(opener: Bus, server: Bus) -> None:
    method = StreamMethod("piper", "empty", Empty, Empty)

    async def nothing(_: Empty, accept: Accept[Empty]) -> None:
        await accept(Empty())

    async with Service(server, name="piper") as service:
        service.handle_stream(method, nothing)
        await service.ready()
        _, stream = await opener.open(method, Empty())
        async with stream:
            assert await stream.read() == b""
