"""Tests of flotilla_bus.events, jetstream and spool on a real nats-server."""

import asyncio
import errno
import shutil
from pathlib import Path

import pytest

from flotilla_bus import Bus, connected
from flotilla_bus.events import create_stream, event_publisher, events_since, kept_stream
from flotilla_bus.spool import Spool
from flotilla_core.errors import DeadlineExceededError
from flotilla_engine.events import EventMessage
from flotilla_testing.nats import NatsServer, nats_server


def event(number: int) -> EventMessage:
    return EventMessage(type="container", action=f"e{number}", time_nano=number)


async def stored(bus: Bus, since_ns: int = 0) -> list[str]:
    async with events_since(bus, since_ns, live=False) as events:
        return [one.event.action async for one in events]


async def test_history_then_live_without_gap_or_double(
    caller: Bus, server: Bus, tmp_path: Path
) -> None:
    await create_stream(caller)
    await create_stream(caller)
    async with event_publisher(server, tmp_path / "spool") as publisher:
        for number in range(300):
            publisher.publish(event(number))
        await publisher.flush(30)
        assert not publisher.has_unsent
        async with events_since(caller, 0) as events, asyncio.timeout(60):
            for number in range(300, 600):
                publisher.publish(event(number))
            got = [await anext(events) for _ in range(600)]
        assert [one.event.action for one in got] == [f"e{number}" for number in range(600)]
        assert [one.sequence for one in got] == list(range(1, 601))
        assert await stored(caller, 590) == [f"e{number}" for number in range(590, 600)]
    assert caller.open_inboxes == 0


async def test_without_since_only_new_ones(caller: Bus, server: Bus, tmp_path: Path) -> None:
    await create_stream(caller)
    async with event_publisher(server, tmp_path / "spool") as publisher:
        publisher.publish(event(1))
        await publisher.flush(30)
        async with events_since(caller) as events, asyncio.timeout(30):
            publisher.publish(event(2))
            assert (await anext(events)).event.action == "e2"
        assert await stored(caller, 5) == []


async def test_events_said_while_nats_is_away_come_once_and_in_order(
    nats: NatsServer, caller: Bus, server: Bus, tmp_path: Path
) -> None:
    await create_stream(caller)
    async with (
        event_publisher(server, tmp_path / "spool") as publisher,
        events_since(caller) as live,
    ):
        for number in range(200):
            publisher.publish(event(number))
        await nats.kill()
        for number in range(200, 1000):
            publisher.publish(event(number))
        with pytest.raises(DeadlineExceededError):
            await publisher.flush(0.05)
        await nats.start()
        await publisher.flush(60)
        wanted = [f"e{number}" for number in range(1000)]
        async with asyncio.timeout(60):
            assert [(await anext(live)).event.action for _ in range(1000)] == wanted
    assert await stored(caller) == wanted


async def test_events_of_a_dead_process_are_sent_by_the_next(
    nats: NatsServer, caller: Bus, tmp_path: Path
) -> None:
    await create_stream(caller)
    folder = tmp_path / "spool"
    await nats.kill()
    async with connected(nats.url, name="server", patience_s=0) as bus:
        async with event_publisher(bus, folder) as publisher:
            publisher.publish(event(1))
        await nats.start()
        async with event_publisher(bus, folder) as publisher:
            publisher.publish(event(2))
            await publisher.flush(60)
    assert await stored(caller) == ["e1", "e2"]
    assert [path.stat().st_size for path in folder.iterdir()] == [0]


async def test_stream_is_made_again_when_its_store_is_lost(
    nats: NatsServer, caller: Bus, server: Bus, tmp_path: Path
) -> None:
    async with (
        kept_stream(caller),
        event_publisher(server, tmp_path / "spool") as publisher,
    ):
        publisher.publish(event(1))
        await publisher.flush(60)
        async with events_since(caller, 0) as events:
            assert (await anext(events)).event.action == "e1"
            await nats.kill()
            shutil.rmtree(tmp_path / "nats" / "jetstream")
            await nats.start()
            publisher.publish(event(2))
            await publisher.flush(60)
            async with asyncio.timeout(60):
                assert (await anext(events)).event.action == "e2"


async def test_on_a_small_disk_the_stream_is_smaller(tmp_path: Path) -> None:
    folder = tmp_path / "nats"
    small = f'jetstream {{ store_dir: "{folder / "jetstream"}", max_file_store: 100MB }}'
    async with (
        nats_server(folder, small) as nats,
        connected(nats.url, name="caller", patience_s=30) as bus,
    ):
        for _ in range(2):
            await create_stream(bus)
        async with event_publisher(bus, tmp_path / "spool") as publisher:
            publisher.publish(event(1))
            await publisher.flush(30)
        assert await stored(bus) == ["e1"]


async def test_same_message_is_stored_once(caller: Bus, server: Bus, tmp_path: Path) -> None:
    await create_stream(caller)
    spool = Spool(tmp_path / "spool")
    spool.add(b"same-id " + event(1).model_dump_json(by_alias=True).encode())
    for part in (tmp_path / "spool").iterdir():
        (tmp_path / "again").mkdir()
        (tmp_path / "again" / part.name).write_bytes(part.read_bytes())
    spool.close()
    for folder in ("spool", "again"):
        async with event_publisher(server, tmp_path / folder) as publisher:
            await publisher.flush(30)
    assert await stored(caller) == ["e1"]


async def test_event_too_large_for_a_message_does_not_hold_up_the_others(
    caller: Bus, server: Bus, tmp_path: Path
) -> None:
    await create_stream(caller)
    async with event_publisher(server, tmp_path / "spool") as publisher:
        publisher.publish(event(1))
        publisher.publish(EventMessage(type="container", action="x" * 9_000_000))
        publisher.publish(event(2))
        await publisher.flush(30)
    assert await stored(caller) == ["e1", "e2"]


async def test_event_that_the_disk_does_not_take_is_lost_alone(
    caller: Bus, server: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_stream(caller)
    async with event_publisher(server, tmp_path / "spool") as publisher:
        publisher.publish(event(1))
        with monkeypatch.context() as full:
            full.setattr("flotilla_bus.spool.SEGMENT_BYTES", 0)
            full.setattr("os.open", _refuse)
            publisher.publish(event(2))
        publisher.publish(event(3))
        await publisher.flush(30)
    assert await stored(caller) == ["e1", "e3"]


def _refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_events_wait_for_their_stream(caller: Bus, server: Bus, tmp_path: Path) -> None:
    async with event_publisher(server, tmp_path / "spool") as publisher:
        publisher.publish(event(1))
        with pytest.raises(DeadlineExceededError):
            await publisher.flush(0.3)
        await create_stream(caller)
        await publisher.flush(30)
    assert await stored(caller) == ["e1"]
