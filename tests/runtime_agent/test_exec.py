"""Execs on a real runtime (``containers/execs.py``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from flotilla_core.errors import ConflictError, FlotillaError
from flotilla_core.ids import new_id
from flotilla_engine.exec import ExecConfig

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import NodeMaker, SmallNode

    from flotilla_runtime_agent.containers.container import Container
    from flotilla_runtime_agent.containers.exec import Exec


def _exec(container: Container, *command: str, **config: object) -> Exec:
    asked = ExecConfig.model_validate(
        {"attach_stdout": True, "attach_stderr": True, "cmd": list(command), **config}
    )
    return container.execs.create(new_id(), asked)


async def _output(started: Exec, *, tty: bool = False, stdin: bytes | None = None) -> bytes:
    client = started.broadcast.subscribe()
    started.claim()
    await started.start(tty=tty)
    if stdin is not None:
        await started.broadcast.send(stdin)
        await started.broadcast.send_eof()
    data = b""
    async with asyncio.timeout(30):
        while packets := await client.read():
            data += b"".join(part for _, part in packets)
        await started.ended.wait()
    client.close()
    return data


async def test_output_and_exit_code(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    started = _exec(container, "sh", "-c", "echo $WHO; exit 4", env=["WHO=me"])
    assert await _output(started) == b"me\n"
    assert (started.record.running, started.record.exit_code) == (False, 4)
    assert node.heard.actions()[2:] == [
        "exec_create: sh -c echo $WHO; exit 4",
        "exec_start: sh -c echo $WHO; exit 4",
        "exec_die",
    ]
    with pytest.raises(ConflictError, match="has already run"):
        started.claim()


async def test_input_and_half_close(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    started = _exec(container, "cat", attach_stdin=True)
    sent = bytes(range(256)) * 4096
    assert await _output(started, stdin=sent) == sent


async def test_terminal(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    started = _exec(container, "test", "-t", "0", tty=True)
    await _output(started, tty=True)
    assert started.record.exit_code == 0


async def test_a_monitor_that_waits_is_used_or_goes(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    used = _exec(container, "echo", "used")
    container.execs.get_ready(used)
    assert await _output(used) == b"used\n"
    other = _exec(container, "test", "-t", "0")
    container.execs.get_ready(other)
    await _output(other, tty=True)  # not as it was created
    assert other.record.exit_code == 0
    left = _exec(container, "echo", "left")
    container.execs.get_ready(left)
    await container.kill("KILL", "")
    assert (left.record.exit_code, left.is_ready) == (137, False)


async def test_command_that_is_missing(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    started = _exec(container, "nosuch")
    started.claim()
    with pytest.raises(FlotillaError) as caught:
        await started.start(tty=False)
    assert caught.value.message == (
        "OCI runtime exec failed: exec failed: unable to start container process: exec: "
        '"nosuch": executable file not found in $PATH: unknown'
    )
    assert started.record.exit_code == 126


async def test_container_that_does_not_run(node: SmallNode) -> None:
    container = await node.create("true")
    with pytest.raises(ConflictError, match="is not running"):
        _exec(container, "true")


async def test_ends_with_its_container(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    started = _exec(container, "sleep", "1000")
    started.claim()
    await started.start(tty=False)
    assert container.execs.open_ids() == [started.record.id]
    await container.kill("KILL", "")
    assert started.record.exit_code == 137
    assert container.execs.open_ids() == []


async def test_is_found_again_after_the_agent_has_died(nodes: NodeMaker) -> None:
    first = await nodes.start()
    container = await first.run("sleep", "1000")
    started = _exec(container, "sh", "-c", "read line; exit 9", attach_stdin=True, tty=True)
    started.claim()
    await started.start(tty=True)
    second = await nodes.start()
    found = second.containers.get(container.id).execs.get(started.record.id)
    assert found.record.running
    await found.broadcast.send(b"go\n")
    async with asyncio.timeout(30):
        await found.ended.wait()
    assert found.record.exit_code == 9
