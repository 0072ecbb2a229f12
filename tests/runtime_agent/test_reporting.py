"""Twin of flotilla_runtime_agent.reporting: a node's way into the fleet."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from flotilla_bus import Bus
from flotilla_bus.contracts import gateway
from flotilla_bus.events import EventPublisher
from flotilla_core.clock import now
from flotilla_core.errors import InternalError, UnavailableError
from flotilla_core.ids import new_id
from flotilla_engine.config import ContainerConfig
from flotilla_engine.host_config import HostConfig
from flotilla_engine.records import (
    ContainerChange,
    ContainerRecord,
    NetworkRecord,
    NetworkState,
    NodeInfo,
    NodeRecord,
    VolumeRecord,
)
from flotilla_engine.state import ContainerState
from flotilla_runtime_agent import reporting
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.node import Node
from flotilla_runtime_agent.ports import Networks, Volumes
from flotilla_runtime_agent.reporting import Membership, Reports


def network(name: str) -> NetworkState:
    return NetworkState(network=NetworkRecord(id=name, name=name, created=now()), revision=1)


class Fleet:
    """Gateway, node, networks and volumes in one."""

    def __init__(self, *records: ContainerRecord) -> None:
        self.applied: list[str] = []
        self.records = {record.id: record for record in records}
        self.told: list[gateway.SyncRequest] = []
        self.joins = 0
        self.lost = 0  # which SYNC is not answered
        self.forgets = False  # whether it knows the node no more after the first join

    def info(self) -> NodeInfo:
        return NodeInfo(node=NodeRecord(id="node", name="node", address=""))

    def revisions(self) -> dict[str, int]:
        return {record.id: record.revision for record in self.records.values()}

    def changes(self, container_ids: Sequence[str]) -> list[ContainerChange]:
        found = [self.records[one] for one in container_ids]
        return [ContainerChange(id=one.id, revision=one.revision, record=one) for one in found]

    async def call(self, _: object, request: Any, **__: object) -> Any:
        if isinstance(request, gateway.JoinRequest):
            self.joins += 1
            networks = [network("broken"), network("wrong"), network("fine")]
            return gateway.JoinAnswer(networks=networks, wanted=list(request.revisions))
        self.told.append(request)
        if len(self.told) == self.lost:
            raise UnavailableError("lost")
        return gateway.SyncAnswer(rejoin=self.forgets and self.joins == 1)

    async def network_states(self) -> list[NetworkState]:
        return []

    async def apply(self, state: NetworkState) -> None:
        match state.network.name:
            case "broken":
                raise OSError("File exists")
            case "wrong":
                raise InternalError("no such parent")
            case name:
                self.applied.append(name)

    async def list(self) -> Sequence[Any]:
        return [VolumeRecord(name=f"v{number}", created=now()) for number in range(3)]


async def joined(fleet: Any, *, times: int = 1, **settings: Any) -> None:
    """Have the fleet's node join, so many times."""
    has_joined = asyncio.Semaphore(0)
    membership = Membership(
        cast("Bus", fleet),
        cast("Node", fleet),
        cast("Containers", fleet),
        cast("Networks", fleet),
        cast("Volumes", fleet),
        Reports(cast("EventPublisher", None)),
        joined=has_joined.release,
        **settings,
    )
    reporting = asyncio.create_task(membership.report_forever())
    try:
        async with asyncio.timeout(30):
            for _ in range(times):
                await has_joined.acquire()
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


async def test_a_network_that_cannot_be_had_does_not_keep_the_node_out() -> None:
    fleet = Fleet()
    await joined(fleet)
    assert fleet.applied == ["fine"]


async def test_what_the_gateway_wants_comes_in_messages_of_a_bounded_size() -> None:
    records = [
        ContainerRecord(
            id=new_id(),
            name=f"c{number}",
            node_id="node",
            revision=number,
            created=now(),
            image_id="",
            image="",
            config=ContainerConfig(),
            host_config=HostConfig(),
            state=ContainerState(),
        )
        for number in range(20)
    ]
    size = len(ContainerChange(id=new_id(), revision=1, record=records[0]).model_dump_json())
    fleet = Fleet(*records)
    fleet.lost = 3
    await joined(fleet, page_bytes=4 * size)
    assert fleet.joins == 2
    again = fleet.told[3:]  # all of it, from its beginning
    assert [one.id for page in again for one in page.changes] == list(fleet.records)
    assert [one.name for page in again for one in page.volumes] == ["v0", "v1", "v2"]
    assert all(page.after_join and 0 < len(page.changes) + len(page.volumes) < 6 for page in again)
    assert all(len(page.model_dump_json()) < 6 * size for page in again)
    assert len(again) > 5


async def test_a_node_without_news_learns_that_the_catalogue_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "_ASK_EVERY_S", 0.01)
    fleet = Fleet()
    fleet.forgets = True
    await joined(fleet, times=2)
    assert fleet.joins == 2
