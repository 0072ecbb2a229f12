"""What a new agent makes of what a former one left (``containers/adoption.py``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flotilla_engine.host_config import HostConfig, RestartPolicy
from flotilla_runtime_agent.runtime.processes import gone

if TYPE_CHECKING:
    from tests.runtime_agent.conftest import NodeMaker


async def test_running_container_goes_on(nodes: NodeMaker) -> None:
    first = await nodes.start()
    container = await first.run("sh", "-c", "read line; echo got $line; exit 5", open_stdin=True)
    pid = container.record.state.pid
    second = await nodes.start()
    found = second.containers.get(container.id)
    assert (found.record.state.status, found.record.state.pid) == ("running", pid)
    client = found.broadcast.subscribe()
    ended = found.waits.exit()
    await found.broadcast.send(b"it\n")
    async with asyncio.timeout(30):
        assert await client.read() == [(2, b"got it\n")]
        assert (await ended).code == 5
    assert second.heard.actions() == ["die"]


async def test_exit_while_no_agent_was_there(nodes: NodeMaker) -> None:
    first = await nodes.start()
    container = await first.run("sh", "-c", "sleep 1000; exit 1")
    process = container.process
    assert process is not None
    bundle = first.host.paths.bundle(container.id)
    await nodes.drop()
    process.kill(15)
    process.kill(9)
    async with asyncio.timeout(30):
        while not (bundle / container.id).exists():  # noqa: ASYNC110  # conmon tells nobody
            await asyncio.sleep(0.01)
    second = await nodes.start()
    found = second.containers.get(container.id)
    assert (found.record.state.status, found.record.state.exit_code) == ("exited", 137)
    assert second.heard.actions() == ["die"]


async def test_restart_policy_holds_when_the_exit_was_not_seen(nodes: NodeMaker) -> None:
    first = await nodes.start()
    host = HostConfig(restart_policy=RestartPolicy(name="always"))
    container = await first.run("sleep", "1000", host=host)
    process = container.process
    assert process is not None
    await nodes.drop()
    process.kill(9)
    async with asyncio.timeout(30):
        await gone(process)
    second = await nodes.start()
    found = second.containers.get(container.id)
    async with asyncio.timeout(30):
        while found.record.state.status != "running":  # noqa: ASYNC110  # a start is not waited for by clients
            await asyncio.sleep(0.01)
    assert found.is_live


async def test_half_made_folder_is_removed(nodes: NodeMaker) -> None:
    first = await nodes.start()
    folder = first.host.paths.containers / ("a" * 64)
    folder.mkdir()
    (folder / "hosts").write_text("")
    second = await nodes.start()
    assert list(second.containers) == []
    assert not folder.exists()


async def test_container_that_cannot_be_read_is_left_alone(nodes: NodeMaker) -> None:
    first = await nodes.start()
    container = await first.run("sleep", "1000")
    assert container.process is not None
    file = first.host.store.folder(container.id) / "container.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    second = await nodes.start()
    assert list(second.containers) == []
    assert container.process.is_alive()
    assert await second.host.snapshots.mount(container.id)
    file.write_bytes(whole)
    third = await nodes.start()
    assert third.containers.get(container.id).record.state.running
    assert (await third.host.snapshots.get(container.id)).root.exists()


async def test_monitor_killed_means_container_killed(nodes: NodeMaker) -> None:
    node = await nodes.start()
    container = await node.run("sleep", "1000")
    run = container.stored.run
    assert run is not None
    ended = container.waits.exit()
    run.monitor.ref().kill()
    async with asyncio.timeout(30):
        assert (await ended).code == 137
    assert not run.process.ref().is_alive()


async def test_exit_code_survives_an_agent_that_dies_while_clearing_away(nodes: NodeMaker) -> None:
    first = await nodes.start()
    container = await first.run("sleep", "1000")
    run = container.stored.run
    assert run is not None
    await nodes.drop()
    run.exit_code = 7
    first.host.store.save(container.stored)
    for process in (run.monitor.ref(), run.process.ref()):
        process.kill()
        async with asyncio.timeout(30):
            await gone(process)
    second = await nodes.start()
    state = second.containers.get(container.id).record.state
    assert (state.status, state.exit_code) == ("exited", 7)
