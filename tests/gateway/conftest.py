"""A catalogue on each database, and a fleet of fake nodes behind a real bus."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from flotilla_bus import Bus, Empty, Service, connected
from flotilla_bus.contracts import agent, gateway, images
from flotilla_core.errors import NotFoundError, NotModifiedError, UnavailableError
from flotilla_database import Database, migrated, opened
from flotilla_engine.config import ContainerConfig
from flotilla_engine.events import EventMessage
from flotilla_engine.mounts import MountPoint
from flotilla_engine.records import (
    ContainerChange,
    ContainerRecord,
    ImageRecord,
    NetworkState,
    NodeInfo,
    NodeRecord,
    VolumeRecord,
)
from flotilla_engine.state import ContainerState
from flotilla_gateway.app import make_app
from flotilla_gateway.catalogue.catalogue import MIGRATIONS, Catalogue
from flotilla_gateway.deps import Ports
from flotilla_gateway.domain.fleet import Fleet, FleetSettings, opened_fleet
from flotilla_testing.nats import nats_server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        await migrated(database, MIGRATIONS)
        yield database


@pytest.fixture
async def other_gateway(database: Database, database_url: str) -> AsyncIterator[Catalogue]:
    """The catalogue as another gateway has it, by connections of its own."""
    async with opened(database_url) as other:
        await migrated(other, MIGRATIONS)
        yield Catalogue(other)


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database)


class FakeNode:
    """A node that keeps its containers in memory and tells the gateway as an agent does."""

    def __init__(self, bus: Bus, name: str, **facts: object) -> None:
        self.bus = bus
        self.name = name
        self.id = node_id(name)
        self.record = NodeRecord(
            id=self.id,
            name=name,
            address="10.0.0.1",
            **{"cpus": 4, "memory_bytes": 2**33} | facts,  # type: ignore[arg-type]
        )
        self.containers: dict[str, ContainerRecord] = {}
        self.networks: dict[str, NetworkState] = {}
        self.volumes: dict[str, VolumeRecord] = {}
        self.silent = False
        self.refuses = False
        self.tells_at_join = 100  # containers at most
        self.uncounted: set[str] = set()  # made after it took stock
        self.subnets: list[str] = []
        self.created: list[agent.CreateRequest] = []
        self.started: list[agent.StartRequest] = []

    def serve(self, service: Service) -> None:
        service.handle(agent.CREATE, self.create)
        service.handle(agent.START, self.start)
        service.handle(agent.STOP, self.stop)
        service.handle(agent.RENAME, self.rename)
        service.handle(agent.REMOVE, self.remove)
        service.handle(agent.INSPECT, self.inspect)
        service.handle(agent.CONNECT, self.connect)
        service.handle(agent.DISCONNECT, self.disconnect)
        service.handle(agent.NETWORK_APPLY, self.apply)
        service.handle(agent.NETWORK_REMOVE, self.remove_network)
        service.handle(agent.VOLUME_CREATE, self.create_volume)
        service.handle(agent.VOLUME_REMOVE, self.remove_volume)

    async def join(self) -> gateway.JoinAnswer:
        counted = [one for one in self.containers.values() if one.id not in self.uncounted]
        revisions = {one.id: one.revision for one in counted}
        info = NodeInfo(node=self.record, subnets=self.subnets)
        request = gateway.JoinRequest(info=info, revisions=revisions)
        answer = await self.bus.call(gateway.JOIN, request)
        for container_id in answer.wanted[: self.tells_at_join]:
            one = self.containers[container_id]
            change = ContainerChange(id=one.id, revision=one.revision, record=one)
            told = gateway.SyncRequest(changes=[change], after_join=True)
            await self.bus.call(gateway.SYNC, told)
        return answer

    async def live(self) -> None:
        """Give signs of life until cancelled."""
        while True:
            if not self.silent:
                await self.bus.publish(gateway.HEARTBEAT, gateway.Heartbeat(node_id=self.id))
            await asyncio.sleep(0.5)

    async def tell(self, container_id: str) -> gateway.SyncAnswer:
        one = self.containers[container_id]
        change = ContainerChange(id=one.id, revision=one.revision, record=one)
        return await self.bus.call(gateway.SYNC, gateway.SyncRequest(changes=[change]))

    def changed(self, container_id: str, **state: object) -> agent.RecordAnswer:
        record = self.containers[container_id]
        record.revision += 1
        record.state = record.state.model_copy(update=state)
        return agent.RecordAnswer(record=record)

    async def create(self, request: agent.CreateRequest) -> agent.RecordAnswer:
        if self.refuses:
            raise UnavailableError(f"node {self.name} is going away")
        self.created.append(request)
        self.containers[request.id] = ContainerRecord(
            id=request.id,
            name=request.name,
            node_id=self.id,
            revision=1,
            created=datetime.now(UTC),
            image_id=request.image.id,
            image=request.image_reference,
            config=request.config,
            host_config=request.host_config,
            state=ContainerState(),
            networks={one.network_name: one.settings for one in request.endpoints},
            mounts=[MountPoint(type="volume", name=one.name) for one in request.volumes],
        )
        return agent.RecordAnswer(record=self.containers[request.id])

    async def start(self, request: agent.StartRequest) -> agent.RecordAnswer:
        self.started.append(request)
        if self.containers[request.container].state.running:
            raise NotModifiedError("already started")
        for state in request.networks:
            await self.apply(state)
        return self.changed(
            request.container, status="running", running=True, started_at=datetime.now(UTC)
        )

    async def stop(self, request: agent.StopRequest) -> agent.RecordAnswer:
        if not self.containers[request.container].state.running:
            raise NotModifiedError("already stopped")
        return self.changed(request.container, status="exited", running=False)

    async def rename(self, request: agent.RenameRequest) -> agent.RecordAnswer:
        self.containers[request.container].name = request.name
        return self.changed(request.container)

    async def remove(self, request: agent.RemoveRequest) -> agent.RemoveAnswer:
        record = self.containers.pop(request.container)
        return agent.RemoveAnswer(revision=record.revision + 1)

    async def inspect(self, request: agent.ContainerRequest) -> agent.RecordAnswer:
        if request.container not in self.containers:
            raise NotFoundError(f"No such container: {request.container}")
        return agent.RecordAnswer(record=self.containers[request.container])

    async def connect(self, request: agent.ConnectRequest) -> agent.RecordAnswer:
        endpoint = request.endpoint
        self.containers[request.container].networks[endpoint.network_name] = endpoint.settings
        if request.network is not None:
            await self.apply(request.network)
        return self.changed(request.container)

    async def disconnect(self, request: agent.DisconnectRequest) -> agent.RecordAnswer:
        self.containers[request.container].networks.pop(request.network_name)
        return self.changed(request.container)

    async def apply(self, state: NetworkState) -> Empty:
        known = self.networks.get(state.network.id)
        if known is None or known.revision <= state.revision:
            self.networks[state.network.id] = state
        return Empty()

    async def remove_network(self, request: agent.NetworkRequest) -> Empty:
        self.networks.pop(request.network_id, None)
        return Empty()

    async def create_volume(self, request: agent.VolumeAnswer) -> agent.VolumeAnswer:
        volume = request.volume.model_copy(update={"mountpoint": f"/v/{request.volume.name}"})
        self.volumes[volume.name] = volume
        return agent.VolumeAnswer(volume=volume)

    async def remove_volume(self, request: agent.VolumeRequest) -> Empty:
        self.volumes.pop(request.name, None)
        return Empty()


def node_id(name: str) -> str:
    return name.ljust(25, "0")


class Silence:
    """Where events of these tests go."""

    async def publish(self, event: EventMessage) -> None:
        """Take an event."""


async def resolve(request: images.ImageRequest) -> images.ImageAnswer:
    if request.reference != "busybox":
        raise NotFoundError(f"No such image: {request.reference}:latest")
    config = ContainerConfig(cmd=["sh"], env=["PATH=/bin"])
    return images.ImageAnswer(image=ImageRecord(id="sha256:" + "1" * 64, config=config))


@dataclass
class Hosts:
    """A fleet with fake nodes, and a client of its Docker API."""

    fleet: Fleet
    api: httpx.AsyncClient
    nodes: dict[str, FakeNode]

    async def post(self, path: str, body: object = None, *, status: int = 201) -> Any:
        answer = await self.api.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def get(self, path: str, *, status: int = 200) -> Any:
        answer = await self.api.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def run(self, name: str, *, prefix: str = "", **body: object) -> tuple[str, str]:
        """Create and start; returns the container's id and its node's name."""
        made = await self.post(
            f"{prefix}/containers/create?name={name}", {"Image": "busybox"} | body
        )
        await self.post(f"{prefix}/containers/{made['Id']}/start", status=204)
        inspected = await self.get(f"{prefix}/containers/{made['Id']}/json")
        return made["Id"], inspected["Node"]["Name"]


async def eventually(check: Callable[[], Any]) -> Any:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not (found := check()):  # noqa: ASYNC110 - fakes have no events
            await asyncio.sleep(0.01)
    return found


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    """Two fake nodes, a (1 label: disk=ssd) and b."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(nats_server(tmp_path / "nats"))

        async def bus(name: str, node: str | None = None) -> Bus:
            return await stack.enter_async_context(
                connected(server.url, name=name, node=node, patience_s=30)
            )

        store = await stack.enter_async_context(
            Service(await bus("image-store"), name=images.SERVICE)
        )
        store.handle(images.RESOLVE, resolve)
        await store.ready()
        database = await stack.enter_async_context(opened(f"sqlite:///{tmp_path}/fleet.db"))
        gateway_bus = await bus("gateway")
        fleet = await stack.enter_async_context(
            opened_fleet(gateway_bus, database, Silence(), FleetSettings(ingress=False))
        )
        nodes = {}
        for name, labels in (("a", {"disk": "ssd"}), ("b", {})):
            node = FakeNode(await bus(name, node_id(name)), name, labels=labels)
            service = await stack.enter_async_context(
                Service(node.bus, name=agent.SERVICE, node=node.id)
            )
            node.serve(service)
            await service.ready()
            await node.join()
            living = asyncio.create_task(node.live())
            stack.push_async_callback(ended, living)
            nodes[name] = node
        api = httpx.AsyncClient(
            transport=httpx.ASGITransport(make_app(Ports(fleet, gateway_bus, Silence()))),
            base_url="http://fleet/v1.45",
        )
        await stack.enter_async_context(api)
        yield Hosts(fleet, api, nodes)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[[Callable[[], Any]], Any]:
    return eventually
