"""Tests of flotilla_bus.permissions on a real nats-server: a node cannot act as another."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flotilla_bus import (
    Accept,
    Bus,
    Credentials,
    Empty,
    Method,
    Notice,
    Service,
    StreamMethod,
    connected,
)
from flotilla_bus.events import create_stream, event_publisher, events_since
from flotilla_bus.permissions import Permissions, node_permissions, service_permissions
from flotilla_core.errors import DeadlineExceededError
from flotilla_engine.events import EventMessage
from flotilla_testing.nats import NatsServer, nats_server

SPEAK = Method("gateway", "node.sync", Empty, Empty, speaker=True)
LIST = Method("gateway", "nodes.list", Empty, Empty)
INSPECT = Method("agent", "container.inspect", Empty, Empty)
ATTACH = StreamMethod("agent", "container.attach", Empty, Empty)
BEAT = Notice("gateway", "node.heartbeat", Empty, speaker=True)
RESOLVE = Method("image-store", "images.resolve", Empty, Empty)


def user(name: str, permissions: Permissions) -> dict[str, object]:
    return {
        "user": name,
        "password": f"{name}'s secret",
        "permissions": {"publish": permissions.publish, "subscribe": permissions.subscribe},
    }


@pytest.fixture
async def nats(tmp_path: Path) -> AsyncIterator[NatsServer]:
    services = ("gateway", "image-store", "cli")
    users = [user(name, service_permissions(name)) for name in services]
    users += [user(node, node_permissions(node)) for node in ("one", "two")]
    rules = f"authorization: {json.dumps({'users': users})}"
    async with nats_server(tmp_path / "nats", rules) as server:
        yield server


@contextlib.asynccontextmanager
async def bus_of(
    nats: NatsServer, name: str, *, node: str | None = None, claims: str | None = None
) -> AsyncIterator[Bus]:
    """Connect as a user; ``claims`` is the node that it says it is."""
    credentials = Credentials(user=name, password=f"{name}'s secret")
    async with connected(
        nats.url, name=name, node=claims or node, credentials=credentials, patience_s=30
    ) as bus:
        yield bus


async def test_all_parts_can_do_their_work(nats: NatsServer, tmp_path: Path) -> None:
    async def nothing(_: Empty) -> Empty:
        return Empty()

    async def heard_from(_: Empty, speaker: str) -> Empty:
        speakers.append(speaker)
        return Empty()

    async def pipe(_: Empty, accept: Accept[Empty]) -> None:
        stream = await accept(Empty())
        await stream.write(await stream.read())

    speakers: list[str] = []
    async with (
        bus_of(nats, "gateway") as gateway,
        bus_of(nats, "image-store") as store,
        bus_of(nats, "cli") as cli,
        bus_of(nats, "one", node="one") as node,
        Service(gateway, name="gateway") as fleet,
        Service(store, name="image-store") as images,
        Service(node, name="agent", node="one") as agent,
        gateway.subscribe(BEAT) as beats,
    ):
        fleet.handle(SPEAK, heard_from)
        fleet.handle(LIST, nothing)
        images.handle(RESOLVE, nothing)
        agent.handle(INSPECT, nothing)
        agent.handle_stream(ATTACH, pipe)
        for service in (fleet, images, agent):
            await service.ready()
        await node.call(SPEAK, Empty())
        await cli.call(LIST, Empty())
        await gateway.call(RESOLVE, Empty())
        await gateway.call(INSPECT, Empty(), node="one")
        _, stream = await gateway.open(ATTACH, Empty(), node="one")
        async with stream:
            await stream.write(b"hello")
            assert await stream.read() == b"hello"
        await node.publish(BEAT, Empty())
        async with asyncio.timeout(30):
            assert (await anext(beats)).speaker == "one"
        assert speakers == ["one"]
        await create_stream(gateway)
        async with events_since(gateway, 0) as events:
            for number, bus in enumerate((gateway, store, node)):
                async with event_publisher(bus, tmp_path / f"{number}") as publisher:
                    publisher.publish(EventMessage(action=f"{number}"))
                    await publisher.flush(30)
            async with asyncio.timeout(30):
                assert [(await anext(events)).event.action for _ in range(3)] == ["0", "1", "2"]


async def test_node_cannot_act_as_another(nats: NatsServer, tmp_path: Path) -> None:
    heard: list[str] = []

    async def hear(_: Empty, speaker: str) -> Empty:
        heard.append(speaker)
        return Empty()

    async def answer(_: Empty) -> Empty:
        heard.append("asked the real one")
        return Empty()

    async def steal(_: Empty) -> Empty:
        heard.append("asked the impostor")
        return Empty()

    async with (
        bus_of(nats, "gateway") as gateway,
        bus_of(nats, "two", node="two") as honest,
        bus_of(nats, "one", claims="two") as impostor,
        Service(gateway, name="gateway") as fleet,
        Service(honest, name="agent", node="two") as agent,
        Service(impostor, name="agent", node="two") as fake,
        gateway.subscribe(BEAT) as beats,
    ):
        fleet.handle(SPEAK, hear)
        agent.handle(INSPECT, answer)
        fake.handle(INSPECT, steal)
        for service in (fleet, agent, fake):
            await service.ready()
        await impostor.publish(BEAT, Empty())
        with pytest.raises(DeadlineExceededError):
            await impostor.call(SPEAK, Empty(), timeout_s=0.5)
        for _ in range(20):
            await gateway.call(INSPECT, Empty(), node="two")
        assert set(heard) == {"asked the real one"}
        await honest.publish(BEAT, Empty())
        async with asyncio.timeout(30):
            assert (await anext(beats)).speaker == "two"
        await create_stream(gateway)
        async with event_publisher(impostor, tmp_path / "fake") as publisher:
            publisher.publish(EventMessage(action="forged"))
            with pytest.raises(DeadlineExceededError):
                await publisher.flush(0.5)
        async with events_since(gateway, 0, live=False) as events:
            assert [one async for one in events] == []


async def test_node_can_neither_call_nodes_nor_listen_to_others(nats: NatsServer) -> None:
    overheard: list[str] = []

    async def hear(message: object) -> None:
        overheard.append(str(message))

    async def nothing(_: Empty) -> Empty:
        return Empty()

    async with (
        bus_of(nats, "gateway") as gateway,
        bus_of(nats, "two", node="two") as two,
        bus_of(nats, "one", node="one") as one,
        Service(two, name="agent", node="two") as agent,
    ):
        agent.handle(INSPECT, nothing)
        await agent.ready()
        for subject in (">", "flotilla.>", "flotilla.rpc.node.two.>", "_INBOX.gateway.>"):
            await one.connection.listen(subject, hear)
        await one.flush()
        with pytest.raises(DeadlineExceededError):
            await one.call(INSPECT, Empty(), node="two", timeout_s=0.5)
        with pytest.raises(DeadlineExceededError):
            await one.call(LIST, Empty(), timeout_s=0.5)
        await gateway.call(INSPECT, Empty(), node="two")
        await one.flush()
        assert overheard == []


async def test_wrong_password_is_turned_away(nats: NatsServer) -> None:
    wrong = Credentials(user="gateway", password="guess")
    async with connected(nats.url, name="gateway", credentials=wrong, patience_s=0.5) as bus:
        assert not bus.is_connected
    assert "guess" not in repr(wrong)
