"""Logs of real containers: rotation, following, tail (``logs/``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flotilla_core.errors import FlotillaError
from flotilla_engine.host_config import HostConfig, LogConfig
from flotilla_runtime_agent.logs.files import Pace
from flotilla_runtime_agent.logs.records import Renderer

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import SmallNode

    from flotilla_runtime_agent.containers.container import Container


async def _ended(container: Container) -> None:
    ended = container.waits.exit()
    await container.start()
    async with asyncio.timeout(60):
        await ended


async def _log(container: Container, **options: object) -> bytes:
    parts = []
    renderer = Renderer(mux=False)
    async for data in container.logs.read(renderer, **options):  # type: ignore[arg-type]
        parts.append(data)
    return b"".join(parts)


async def test_both_streams_are_kept_apart(node: SmallNode) -> None:
    container = await node.create("sh", "-c", "echo out; echo err >&2")
    await _ended(container)
    errors = b""
    async for data in container.logs.read(Renderer(mux=False, stdout=False)):
        errors += data
    assert errors == b"err\n"
    assert sorted((await _log(container)).split()) == [b"err", b"out"]


async def test_long_and_binary_lines_are_whole(node: SmallNode) -> None:
    command = "head -c 1048576 /dev/zero; echo; printf 'a\\001\\377'"
    container = await node.create("sh", "-c", command)
    await _ended(container)
    assert await _log(container) == b"\0" * 1048576 + b"\na\x01\xff"


async def test_tail(node: SmallNode) -> None:
    container = await node.create("seq", "1", "5000")
    await _ended(container)
    assert await _log(container, tail=3) == b"4998\n4999\n5000\n"
    assert await _log(container, tail=0) == b""
    assert (await _log(container, tail=100000)).count(b"\n") == 5000


@pytest.mark.parametrize("compress", ["false", "true"])
async def test_no_line_is_lost_by_rotation_while_followed(node: SmallNode, compress: str) -> None:
    options = {"max-size": "200k", "max-file": "50", "compress": compress}
    host = HostConfig(log_config=LogConfig(type="json-file", config=options))
    script = "for i in $(seq 1 40); do seq 1 1000; sleep 0.02; done"
    container = await node.create("sh", "-c", script, host=host)
    await container.start()
    followed = await asyncio.wait_for(_log(container, follow=True), 60)
    expected = b"".join(b"%d\n" % number for number in range(1, 1001)) * 40
    assert followed == expected
    assert container.logs.files.newest > 1
    assert await _log(container) == expected
    assert await _log(container, tail=1500) == expected[expected.rindex(b"\n501\n", 0, -4000) + 1 :]


def test_a_log_is_looked_at_more_often_the_closer_it_is_to_its_limit() -> None:
    pace = Pace(1000)
    assert pace.pause_s(100, 1.0) == 0.004  # how fast it grows is not known yet
    assert pace.pause_s(200, 2.0) == 0.1
    assert pace.pause_s(900, 2.1) == pytest.approx(0.1 / 7 / 2)
    assert pace.pause_s(1200, 2.2) == 0.004


async def test_driver_none_keeps_nothing(node: SmallNode) -> None:
    container = await node.create("true", host=HostConfig(log_config=LogConfig(type="none")))
    await _ended(container)
    with pytest.raises(FlotillaError, match="configured logging driver does not support reading"):
        await _log(container)


async def test_unknown_driver_and_option_are_refused(node: SmallNode) -> None:
    with pytest.raises(FlotillaError, match='plugin "nosuch" not found'):
        await node.create("true", host=HostConfig(log_config=LogConfig(type="nosuch")))
    log = LogConfig(type="json-file", config={"foo": "1"})
    with pytest.raises(FlotillaError, match="unknown log opt 'foo' for json-file log driver"):
        await node.create("true", host=HostConfig(log_config=log))


async def test_it_is_rotated_where_no_file_can_be_watched(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError("fs.inotify.max_user_watches is too low")

    monkeypatch.setattr(node.host.inotify, "watch", refuse)
    monkeypatch.setattr("flotilla_runtime_agent.containers.logging_files._LOOK_EVERY_S", 0.01)
    log = LogConfig(type="json-file", config={"max-size": "10k", "max-file": "2"})
    command = "seq 1 5000; read line"
    container = await node.create(
        "sh", "-c", command, host=HostConfig(log_config=log), open_stdin=True
    )
    await container.start()
    async with asyncio.timeout(60):
        while not container.logs.files.newest:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
