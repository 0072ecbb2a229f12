"""Containers' lives on a real runtime (``containers/container.py``)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from flotilla_core.errors import (
    ConflictError,
    FlotillaError,
    InvalidArgumentError,
    NotModifiedError,
)
from flotilla_engine.host_config import HostConfig, RestartPolicy

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import SmallNode


async def test_output_and_exit_code_of_a_short_command(node: SmallNode) -> None:
    code, output = await node.finished("sh", "-c", "echo ahoy; exit 3")
    assert (code, output) == (3, b"ahoy\n")


async def test_events_of_a_run(node: SmallNode) -> None:
    await node.finished("true")
    assert node.heard.actions() == ["create", "start", "die"]
    assert node.heard.events[-1][1]["exitCode"] == "0"


async def test_command_that_is_missing(node: SmallNode) -> None:
    container = await node.create("nosuch")
    with pytest.raises(InvalidArgumentError) as caught:
        await container.start()
    assert caught.value.message == (
        "failed to create task for container: failed to create shim task: OCI runtime create "
        'failed: runc create failed: unable to start container process: exec: "nosuch": '
        "executable file not found in $PATH: unknown"
    )
    state = container.record.state
    assert (state.status, state.exit_code, state.error) == ("created", 127, caught.value.message)


async def test_command_that_is_no_program(node: SmallNode) -> None:
    container = await node.create("/etc/plain")
    with pytest.raises(InvalidArgumentError, match="permission denied"):
        await container.start()
    assert container.record.state.exit_code == 126


async def test_unknown_user(node: SmallNode) -> None:
    container = await node.create("true", user="nobody")
    with pytest.raises(FlotillaError, match="unable to find user nobody: no matching entries"):
        await container.start()


async def test_user_and_groups_of_the_image(node: SmallNode) -> None:
    _, output = await node.finished("id", user="sailor")
    assert output.split() == [
        b"uid=1000(sailor)",
        b"gid=1001(crew)",
        b"groups=1001(crew),1002(deck)",
    ]


async def test_stop_sends_the_signal_then_kills(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    with pytest.raises(NotModifiedError):
        await container.start()
    await container.stop(signal_name=None, timeout_s=0)
    assert container.record.state.exit_code == 137
    assert node.heard.actions() == ["create", "start", "kill", "kill", "stop", "die"]
    with pytest.raises(NotModifiedError):
        await container.stop(signal_name=None, timeout_s=0)


async def test_signal_reaches_the_process(node: SmallNode) -> None:
    container = await node.create("sh", "-c", "trap 'exit 7' USR1; echo ready; sleep 1000 & wait")
    output = container.broadcast.subscribe()
    await container.start()
    assert await output.read() == [(2, b"ready\n")]
    ended = container.waits.exit()
    await container.kill("SIGUSR1", "")
    assert (await ended).code == 7
    with pytest.raises(ConflictError, match="is not running"):
        await container.kill("KILL", "x")


async def test_pause_and_unpause(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    await container.pause()
    assert container.record.state.status == "paused"
    with pytest.raises(ConflictError, match="is already paused"):
        await container.pause()
    await container.unpause()
    assert container.record.state.status == "running"
    await container.pause()
    await container.kill(str(int(signal.SIGKILL)), "")
    assert container.record.state.status == "exited"


async def test_remove_refuses_a_running_container(node: SmallNode) -> None:
    container = await node.run("sleep", "1000")
    with pytest.raises(ConflictError, match="container is running: stop the container"):
        await container.remove()
    gone = container.waits.removal()
    await container.remove(force=True)
    assert (await gone).code == 137
    assert container.id in node.heard.gone


async def test_automatic_removal(node: SmallNode) -> None:
    container = await node.create("true", host=HostConfig(auto_remove=True))
    gone = container.waits.removal()
    await container.start()
    async with asyncio.timeout(30):
        assert (await gone).code == 0


async def test_restart_on_failure_gives_up(node: SmallNode) -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    container = await node.create("false", host=HostConfig(restart_policy=policy))
    await container.start()
    async with asyncio.timeout(30):
        while (await container.waits.exit()).code != 1 or container.record.restart_count < 2:
            pass
    assert node.heard.actions().count("start") >= 2


async def test_restart_policy_ends_with_a_stop(node: SmallNode) -> None:
    policy = RestartPolicy(name="always")
    container = await node.run("true", host=HostConfig(restart_policy=policy))
    async with asyncio.timeout(30):
        await container.waits.exit()
    await container.stop(signal_name=None, timeout_s=1)
    assert container.record.state.status == "exited"


async def test_memory_limit_is_seen_as_out_of_memory(node: SmallNode) -> None:
    host = HostConfig(memory=16 << 20, memory_swap=16 << 20)
    container = await node.create("dd", "if=/dev/zero", "of=/dev/null", "bs=60M", host=host)
    ended = container.waits.exit()
    await container.start()
    async with asyncio.timeout(30):
        assert (await ended).code == 137
    assert container.record.state.oom_killed
    assert "oom" in node.heard.actions()


async def test_nothing_is_left_of_a_run(node: SmallNode) -> None:
    container = await node.create("true")
    ended = container.waits.exit()
    await container.start()
    await ended
    assert not node.host.paths.bundle(container.id).exists()
    assert not (node.host.runtimes["runc"].root / container.id).exists()


async def test_signal_that_is_no_stop_leaves_the_restart_policy_alone(node: SmallNode) -> None:
    policy = RestartPolicy(name="always")
    container = await node.run("sleep", "1000", host=HostConfig(restart_policy=policy))
    container.record.config.stop_signal = "SIGTERM"
    ended = container.waits.exit()
    process = container.process
    assert process is not None
    await container.kill("KILL", "")
    async with asyncio.timeout(30):
        await ended
    assert container.record.state.status == "exited"
    await container.start()
    process = container.process
    assert process is not None
    ended = container.waits.exit()
    process.kill()
    async with asyncio.timeout(30):
        await ended
        while container.record.state.status != "running":  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.01)
    assert container.record.restart_count == 1
