"""Twin of flotilla_server/http: hijack, half-close, back-pressure, listeners, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from flotilla_server.http import (
    Listener,
    ListenError,
    body_parts,
    cut,
    hijack_of,
    serving,
    tls_context,
)
from flotilla_testing.certificates import CertificateFiles, make_certificates

DEADLINE_S = 60
App = Callable[[Any, Any, Any], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the event loop that the services use."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def call() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(call())

    return run


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def _connected(
    app: App, scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> AsyncIterator[Streams]:
    """Serve the application on the scheme and open one client connection."""
    files = certificates
    context = tls_context(files.server_certificate, files.server_key)
    address = f"unix://{tmp_path}/s.sock" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with asyncio.timeout(DEADLINE_S), serving(app, [Listener(address, context)]) as server:
        if scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s.sock")
        else:
            port = int(server.addresses[0].rpartition(":")[2])
            trust = None
            if scheme == "tls":
                trust = ssl.create_default_context(cafile=str(files.ca))
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture(params=["tcp", "unix", "tls"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Echo a hijacked connection until the client's end, then say goodbye."""
    async with await hijack_of(scope)(headers=[("Api-Version", "1.51")]) as connection:
        while data := await connection.read():
            await connection.write(data)
        await connection.write(b"bye")


UPGRADE = (
    b"POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@on_uvloop
async def test_hijack_answers_101_and_hands_over_early_bytes(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async with _connected(_echo, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(UPGRADE + b"early")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"Upgrade: tcp\r\n" in head
        assert b"Api-Version: 1.51\r\n" in head
        assert await reader.readexactly(5) == b"early"
        writer.write(b"late")
        assert await reader.readexactly(4) == b"late"


@on_uvloop
async def test_hijack_without_upgrade_is_a_200_raw_stream(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async with _connected(_echo, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(b"POST /attach HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}early")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-st")
        assert await reader.readexactly(5) == b"early"


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 4\r\n\r\nbody",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    ],
)
@on_uvloop
async def test_the_body_of_a_request_that_upgrades_is_no_input(
    body: bytes, scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        read = b""
        more = True
        while more:
            message = await receive()
            read += message["body"]
            more = message["more_body"]
        async with await hijack_of(scope)() as connection:
            await connection.write(b"<" + read + b">" + await connection.read())

    head = b"POST /exec/x/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    async with _connected(app, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(head + body + b"early")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(-1) == b"<body>early"


@on_uvloop
async def test_requests_may_come_byte_by_byte(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    async with _connected(_echo, "tcp", certificates, tmp_path) as (reader, writer):
        writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        for byte in UPGRADE.replace(b"Length: 0\r\n\r\n", b"Length: 2\r\n\r\n{}") + b"early":
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"early"


@pytest.mark.parametrize("plain", ["tcp", "unix"])
@on_uvloop
async def test_output_flows_after_the_clients_half_close(
    plain: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async with _connected(_echo, plain, certificates, tmp_path) as (reader, writer):
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        assert await reader.read(-1) == b"x" * 3_000_000 + b"bye"


@on_uvloop
async def test_output_flows_after_close_notify(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    """A TLS client such as Go's sends close_notify and reads on; asyncio's own cannot."""
    context = tls_context(certificates.server_certificate, certificates.server_key)
    async with (
        asyncio.timeout(DEADLINE_S),
        serving(_echo, [Listener("tls://127.0.0.1:0", context)]) as server,
    ):
        port = int(server.addresses[0].rpartition(":")[2])
        output = await asyncio.to_thread(_half_closing_tls_client, port, certificates.ca)
    assert output.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert output.endswith(b"\r\n\r\nhellobye")


def _half_closing_tls_client(port: int, ca: Path) -> bytes:
    """Send, close our side by close_notify alone, and read to the end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(ca))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as raw:

        def step(action: Callable[[], Any]) -> Any:
            while True:
                try:
                    result = action()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    incoming.write(raw.recv(65536))
                    continue
                raw.sendall(outgoing.read())
                return result

        step(tls.do_handshake)
        step(lambda: tls.write(UPGRADE + b"hello"))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        raw.sendall(outgoing.read())
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := step(lambda: tls.read(65536)):
                received += data
    return received


@on_uvloop
async def test_a_running_response_outlives_the_clients_fin(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async with _connected(app, "tcp", certificates, tmp_path) as (reader, writer):
        writer.write(b"GET /logs HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"first\r\n")
        writer.write_eof()
        await asyncio.sleep(0)
        go_on.set()
        assert (await reader.read(-1)).endswith(b"4\r\nlast\r\n0\r\n\r\n")


@pytest.mark.parametrize(("plain", "agent"), [("tcp", "User-Agent: x\r\n"), ("unix", "")])
@on_uvloop
async def test_a_lost_client_is_told_to_the_handler(
    plain: str, agent: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    begun = asyncio.Event()
    told = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        begun.set()
        if (await receive())["type"] == "http.disconnect":
            told.set()

    async with _connected(app, plain, certificates, tmp_path) as (_, writer):
        writer.write(f"GET /events HTTP/1.1\r\nHost: x\r\n{agent}\r\n".encode())
        await writer.drain()
        await begun.wait()
        writer.close()
        await told.wait()


@on_uvloop
async def test_a_slow_reader_slows_the_writer_and_a_slow_handler_the_client(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    written = 0
    blocked = asyncio.Event()
    total = 64 * 1024 * 1024

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal written
        async with await hijack_of(scope)() as connection:
            while written < total:
                writing = asyncio.ensure_future(connection.write(b"x" * 65536))
                done, _ = await asyncio.wait([writing], timeout=0.5)
                if not done:
                    blocked.set()
                await writing
                written += 65536

    async with _connected(app, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(UPGRADE)
        await blocked.wait()
        assert written < total
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < total:
            received += len(await reader.read(1 << 20))


@on_uvloop
async def test_a_large_upload_is_bounded_in_memory(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    go_on = asyncio.Event()
    largest = 0
    total = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal largest, total
        await go_on.wait()
        more = True
        while more:
            message = await receive()
            largest = max(largest, len(message["body"]))
            total += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with _connected(app, "tcp", certificates, tmp_path) as (reader, writer):
        size = 20_000_000
        writer.write(
            b"PUT /archive HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        go_on.set()
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"x" * size)
        await reader.readuntil(b"0\r\n\r\n")
    assert total == size
    assert largest < 2_000_000


@on_uvloop
async def test_bodies_come_in_parts_whatever_follows_them(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    largest = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal largest
        size = 0
        async for parts in body_parts(scope, receive):
            took = sum(map(len, parts))
            size += took
            largest = max(largest, took)
            await asyncio.sleep(0)
        headers = [(b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"%8d" % size})

    async with _connected(app, scheme, certificates, tmp_path) as (reader, writer):
        chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        chunked = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sized = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        none = b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(chunked + chunk * 200 + b"0\r\nDigest: a\r\n\r\n" + sized + none)
        for size in (200 * 0x8000, 5, 0):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert int(await reader.readexactly(8)) == size
    assert largest < 2_000_000


@on_uvloop
async def test_a_body_that_breaks_off_is_no_body(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            async for _ in body_parts(scope, receive):
                pass
        except ConnectionResetError as error:
            told.set_result(str(error))

    head = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with _connected(app, "tcp", certificates, tmp_path) as (reader, writer):
        writer.write(head + b"5\r\nhello\r\n")
        writer.write(b"nonsense\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 ")
        assert await told == "the client is gone"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        b"Transfer-Encoding : chunked",
    ],
)
@on_uvloop
async def test_a_body_whose_end_is_ambiguous_is_400(
    headers: bytes, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async with _connected(_echo, "tcp", certificates, tmp_path) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n0\r\n\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 ")


@on_uvloop
async def test_requests_follow_each_other_on_one_connection(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = scope["path"].encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with _connected(app, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n" + UPGRADE
        )
        for path in (b"/a", b"/b", b"/attach"):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
            assert await reader.readexactly(len(path)) == path
        writer.write(b"GET /d HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"/d"


@on_uvloop
async def test_nonsense_is_400(scheme: str, certificates: CertificateFiles, tmp_path: Path) -> None:
    async with _connected(_echo, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 400 ")


@on_uvloop
async def test_headers_have_a_bound(certificates: CertificateFiles, tmp_path: Path) -> None:
    async with _connected(_echo, "tcp", certificates, tmp_path) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_048_576)
        assert (await reader.readexactly(13)) == b"HTTP/1.1 431 "


@on_uvloop
async def test_a_socket_file_is_for_its_group_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    listeners = [Listener(f"unix://{path}"), Listener("tcp://127.0.0.1:0")]
    async with serving(_echo, listeners) as server:
        assert server.addresses[0] == f"unix://{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(ListenError, match="another process listens there"):
            async with serving(_echo, listeners[:1]):
                pass
    if not path.exists():  # uvloop removes it, asyncio leaves it
        path.touch()
        path.unlink()
    async with serving(_echo, listeners[:1]):
        pass


@on_uvloop
async def test_clients_without_a_certificate_are_refused_when_one_is_asked_for(
    certificates: CertificateFiles,
) -> None:
    files = certificates
    context = tls_context(files.server_certificate, files.server_key, files.ca)
    trust = ssl.create_default_context(cafile=str(files.ca))
    async with (
        asyncio.timeout(DEADLINE_S),
        serving(_echo, [Listener("tls://127.0.0.1:0", context)]) as server,
    ):
        port = int(server.addresses[0].rpartition(":")[2])
        assert await _first_answer(port, trust) == b""
        trust.load_cert_chain(files.client / "cert.pem", files.client / "key.pem")
        assert await _first_answer(port, trust) == b"HTTP/1.1"


async def _first_answer(port: int, trust: ssl.SSLContext) -> bytes:
    """Return the first bytes of the answer, none if the server refuses."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        writer.write(UPGRADE)
        answer = await reader.read(8)
        writer.transport.abort()
    except OSError:
        return b""
    return answer


def test_a_missing_certificate_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"TLS files .*nothing.pem"):
        tls_context(tmp_path / "nothing.pem", tmp_path / "nothing-key.pem")


@on_uvloop
async def test_a_response_may_be_cut(
    scheme: str, certificates: CertificateFiles, tmp_path: Path
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        cut(scope)

    async with _connected(app, scheme, certificates, tmp_path) as (reader, writer):
        writer.write(b"GET /logs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.read(-1)).endswith(b"4\r\npart\r\n")


@on_uvloop
async def test_the_end_of_the_server_is_the_end_of_streams_without_an_error(
    certificates: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with asyncio.timeout(DEADLINE_S):
        async with serving(app, [Listener("tcp://127.0.0.1:0")], graceful_s=0.1) as server:
            port = int(server.addresses[0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"part\r\n")
        assert await reader.read(-1) == b""
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


@on_uvloop
async def test_a_body_that_was_not_asked_for_is_not_waited_for(
    certificates: CertificateFiles, tmp_path: Path
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async with _connected(app, "tcp", certificates, tmp_path) as (reader, writer):
        writer.write(
            b"PUT /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 404 ")
