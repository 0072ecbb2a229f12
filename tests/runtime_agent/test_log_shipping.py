"""Log drivers that send elsewhere (``logs/shipping/``), with receivers in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flotilla_core.errors import FlotillaError
from flotilla_engine.host_config import HostConfig, LogConfig
from flotilla_runtime_agent.logs.records import Renderer
from flotilla_runtime_agent.logs.shipping import fluentd, gelf, journald, syslog
from flotilla_runtime_agent.logs.shipping.message import Joiner, Line, Origin

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import NodeMaker, SmallNode

_ORIGIN = Origin("c" * 64, "/boat", "sha256:1", "busybox", "sh", "2026", "mytag", {"role": "db"})
_LINE = Line(1_700_000_000_123_000_000, 2, b"ahoy")


def test_parts_are_joined() -> None:
    stamp = b"2026-01-02T03:04:05.000000001+00:00"
    chunk = stamp + b" stdout P one \n" + stamp + b" stderr F x\n" + stamp + b" stdout F two\n"
    lines = list(Joiner().lines(chunk))
    assert [(line.stream, line.content) for line in lines] == [(2, b"x"), (1, b"one two")]


def test_syslog_formats() -> None:
    message = syslog.encode(_LINE, _ORIGIN, chosen="rfc5424micro", number=syslog.facility("local1"))
    assert message.startswith(b"<139>1 2023-11-1")
    assert message.endswith(b" mytag - ahoy")
    assert syslog.encode(_LINE, _ORIGIN, chosen="", number=3).startswith(b"<27>Nov 1")
    assert syslog.framed(b"abc", counts_octets=True) == b"3 abc"


def test_gelf_in_chunks() -> None:
    message = gelf.encode(Line(1, 1, b"x" * 100), _ORIGIN)
    document = json.loads(message)
    assert (document["_role"], document["level"]) == ("db", 6)
    (whole,) = gelf.datagrams(message, compression="zlib", level=1)
    assert zlib.decompress(whole) == message
    parts = list(gelf.datagrams(b"y" * 5000, compression="none", level=1))
    assert [part[10:12] for part in parts] == [bytes((number, 4)) for number in range(4)]
    assert b"".join(part[12:] for part in parts) == b"y" * 5000


def test_fluentd_message() -> None:
    data = fluentd.encode(_LINE, _ORIGIN, has_fractions=False)
    assert data.startswith(b"\x93\xa5mytag\xce" + (1_700_000_000).to_bytes(4, "big") + b"\x85")
    assert b"\xa3log\xa4ahoy" in data


def test_journal_entry_with_newlines() -> None:
    encoder = journald.Encoder(_ORIGIN)
    (entry,) = encoder(Line(1, 1, b"a\nb"))
    assert entry.startswith(b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=6\n")
    (entry,) = encoder(_LINE)
    assert b"\nSYSLOG_TIMESTAMP=2023-11-14T22:13:20.123Z\n" in entry
    assert b"\nCONTAINER_LOG_ORDINAL=2\n" in entry


async def test_lines_reach_a_syslog_server_and_stay_readable(node: SmallNode) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    options = {"syslog-address": f"udp://127.0.0.1:{receiver.getsockname()[1]}", "tag": "{{.Name}}"}
    host = HostConfig(log_config=LogConfig(type="syslog", config=options))
    container = await node.run("echo", "ahoy", host=host)
    async with asyncio.timeout(30):
        message = await asyncio.get_running_loop().sock_recv(receiver, 9000)
    receiver.close()
    assert message.startswith(b"<30>")
    assert message.endswith(b"]: ahoy")
    assert container.record.name.encode() in message
    log = b""
    async for data in container.logs.read(Renderer(mux=False)):
        log += data
    assert log == b"ahoy\n"


def _touch(path: str) -> None:
    Path(path).touch()


async def test_nothing_is_lost_while_the_receiver_is_away(nodes: NodeMaker) -> None:
    node = await nodes.start()
    place = nodes.folder / "log.sock"
    options = {"syslog-address": f"unix://{place}"}
    host = HostConfig(log_config=LogConfig(type="syslog", config=options))
    first = socket.socket(socket.AF_UNIX)
    first.bind(str(place))
    first.listen()
    command = "until [ -e /go ]; do sleep 0.1; done; seq 1 100; sleep 1000"
    container = await node.run("sh", "-c", command, host=host)
    first.close()
    place.unlink()
    _touch(f"/proc/{container.record.state.pid}/root/go")
    await nodes.start()
    seen: list[bytes] = []
    complete = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            seen.append(line.rpartition(b": ")[2])
            if set(seen) >= expected:
                complete.set()
        writer.close()

    expected = {b"%d\n" % number for number in range(1, 101)}
    server = await asyncio.start_unix_server(receive, place)
    async with asyncio.timeout(30):
        await complete.wait()
    server.close()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            LogConfig(type="syslog", config={"syslog-address": "tcp://127.0.0.1:1"}),
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (
            LogConfig(type="fluentd", config={"fluentd-address": "127.0.0.1:1"}),
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (
            LogConfig(type="gelf", config={"gelf-address": "tcp://127.0.0.1:1"}),
            "gelf: cannot connect to GELF endpoint: 127.0.0.1:1 "
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
async def test_nothing_starts_without_a_receiver(
    node: SmallNode, config: LogConfig, reason: str
) -> None:
    container = await node.create("true", host=HostConfig(log_config=config))
    with pytest.raises(FlotillaError) as caught:
        await container.start()
    prefix = "failed to create task for container: failed to initialize logging driver: "
    assert caught.value.message == prefix + reason
    state = container.record.state
    assert (state.status, state.exit_code, state.error) == ("created", 128, prefix + reason)


async def test_an_asynchronous_driver_needs_no_receiver(node: SmallNode) -> None:
    options = {"fluentd-address": "127.0.0.1:1", "fluentd-async": "true"}
    host = HostConfig(log_config=LogConfig(type="fluentd", config=options))
    assert (await node.run("true", host=host)).record.state.started_at is not None


async def test_wrong_options_are_refused(node: SmallNode) -> None:
    for config in (
        LogConfig(type="gelf"),
        LogConfig(type="syslog", config={"syslog-address": "http://x"}),
        LogConfig(type="syslog", config={"syslog-facility": "nosuch"}),
    ):
        with pytest.raises(FlotillaError):
            await node.create("true", host=HostConfig(log_config=config))
