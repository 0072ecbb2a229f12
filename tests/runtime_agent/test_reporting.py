"""Twin of flotilla_runtime_agent.reporting: a node's way into the fleet."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from flotilla_bus import Bus
from flotilla_bus.contracts import gateway
from flotilla_bus.events import EventPublisher
from flotilla_core.clock import now
from flotilla_core.errors import InternalError
from flotilla_engine.records import NetworkRecord, NetworkState, NodeInfo, NodeRecord
from flotilla_runtime_agent.containers.containers import Containers
from flotilla_runtime_agent.node import Node
from flotilla_runtime_agent.ports import Networks, Volumes
from flotilla_runtime_agent.reporting import Membership, Reports


def network(name: str) -> NetworkState:
    return NetworkState(network=NetworkRecord(id=name, name=name, created=now()), revision=1)


class Fleet:
    """Gateway, node, networks and volumes in one."""

    def __init__(self) -> None:
        self.applied: list[str] = []

    def info(self) -> NodeInfo:
        return NodeInfo(node=NodeRecord(id="node", name="node", address=""))

    def inventory(self) -> list[Any]:
        return []

    async def call(self, *_: object, **__: object) -> gateway.JoinAnswer:
        return gateway.JoinAnswer(networks=[network("broken"), network("wrong"), network("fine")])

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
        return []


async def test_a_network_that_cannot_be_had_does_not_keep_the_node_out() -> None:
    fleet: Any = Fleet()
    joined = asyncio.Event()
    membership = Membership(
        cast("Bus", fleet),
        cast("Node", fleet),
        cast("Containers", fleet),
        cast("Networks", fleet),
        cast("Volumes", fleet),
        Reports(cast("EventPublisher", None)),
        joined=joined.set,
    )
    reporting = asyncio.create_task(membership.report_forever())
    try:
        async with asyncio.timeout(30):
            await joined.wait()
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    assert fleet.applied == ["fine"]
